import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { ANY_PAYLOAD } from '../db/listener';
import { rows, transaction } from '../db/query';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';
import { EVENTS_CHANNEL, UNPUBLISHED } from './events';

type PublishContext = Pick<Context, 'db' | 'log' | 'stopping'>;

/**
 * Limits the events that one statement publishes, to stay well below the statement time-out. After a failure it is halved, because
 * each event may have a delivery to every endpoint.
 */
const BATCH = 500;
/**
 * `pollMs`: for events of a replica that notifies nobody. `lockedMs`: while another transaction holds the lock on the feed.
 * `pauseMs`: before a run, so that events that follow closely share it.
 */
export const PUBLISH_TIMES = { pollMs: 500, lockedMs: 100, pauseMs: 25 };

const PUBLISH = 'select published, more, restarted from scsp_publish_events_v2($1)';
type Published = { readonly published: number; readonly more: boolean; readonly restarted: boolean };

/**
 * Publishes committed events until there are none (contract, section 9).
 * @returns the number of events published; undefined if another transaction holds the lock on the feed
 * @throws Problem `unavailable`
 */
export async function publishEvents(ctx: PublishContext, batchSize = BATCH): Promise<number | undefined> {
  let total = 0;
  for (let more = true; more && !ctx.stopping.aborted; ) {
    const [batch] = await transaction(ctx.db, (tx) => rows<Published>(tx, PUBLISH, [batchSize]), 'READ COMMITTED');
    if (batch?.restarted)
      ctx.log.warn('the database was restored or failed over: positions of events go on higher, followers start anew');
    if (batch === undefined) return undefined;
    total += batch.published;
    more = batch.more;
  }
  return total;
}

/**
 * Publishes events when they are committed, until stopped.
 * @param channels other channels that are notified with commits that may hold events
 */
export function startPublisher(
  ctx: PublishContext & Pick<Context, 'listener'>,
  channels: readonly string[],
): PeriodicJob {
  const { pollMs, lockedMs, pauseMs } = PUBLISH_TIMES;
  let batchSize = BATCH;
  const work = async () => {
    await sleep(pauseMs);
    try {
      if ((await publishEvents(ctx, batchSize)) === undefined) {
        await sleep(lockedMs);
        job.wake();
      }
      batchSize = Math.min(BATCH, batchSize * 2);
    } catch (error) {
      batchSize = Math.max(1, Math.floor(batchSize / 2));
      throw error;
    }
  };
  const wakeOn = (wake: () => void) => [
    ctx.listener.on(EVENTS_CHANNEL, wake, UNPUBLISHED),
    ...channels.map((channel) => ctx.listener.on(channel, wake, ANY_PAYLOAD)),
  ];
  const job = startPeriodic({ name: 'publication of events', everyMs: pollMs, wakeOn, ...ctx }, work);
  return job;
}
