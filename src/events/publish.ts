import type { Context } from '../context';
import { ANY_PAYLOAD } from '../db/listener';
import { rows, transaction } from '../db/query';
import { EVENTS_CHANNEL, UNPUBLISHED } from './events';

type PublishContext = Pick<Context, 'db' | 'log' | 'stopping'>;

/**
 * Limits the events that one statement publishes, to stay well below the statement time-out. After a failure it is halved, because
 * each event may have a delivery to every endpoint.
 */
const BATCH = 500;
/**
 * `pollMs`: for events of a replica that notifies nobody. `lockedMs`: while another transaction holds the lock on the feed.
 * `pauseMs`: after a run, so that events that follow closely share the next one.
 */
export const PUBLISH_TIMES = { pollMs: 500, lockedMs: 100, pauseMs: 25 };

const PUBLISH = 'select published, more, restarted from scsp_publish_events_v1($1)';
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
 * Publishes events when they are committed, until stopped. Consecutive failures are logged once; the next run catches up.
 * @param channels other channels that are notified with commits that may hold events
 */
export function startPublisher(
  ctx: PublishContext & Pick<Context, 'listener'>,
  channels: readonly string[],
): { stop(): Promise<void> } {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let notified = false;
  let failing = false;
  let batchSize = BATCH;
  const run = async () => {
    notified = false;
    let locked = false;
    try {
      locked = (await publishEvents(ctx, batchSize)) === undefined;
      failing = false;
      batchSize = Math.min(BATCH, batchSize * 2);
    } catch (error) {
      if (!failing) ctx.log.warn('events could not be published, retrying', { reason: String(error) });
      failing = true;
      batchSize = Math.max(1, Math.floor(batchSize / 2));
    }
    running = undefined;
    const { pollMs, lockedMs, pauseMs } = PUBLISH_TIMES;
    schedule(notified ? pauseMs : locked ? lockedMs : pollMs);
  };
  const schedule = (ms: number) => {
    clearTimeout(timer);
    if (ctx.stopping.aborted) return;
    timer = setTimeout(() => {
      running ??= run();
    }, ms).unref();
  };
  const notify = () => {
    if (notified) return;
    notified = true;
    if (running === undefined) schedule(PUBLISH_TIMES.pauseMs);
  };
  const unsubscribe = [
    ctx.listener.on(EVENTS_CHANNEL, notify, UNPUBLISHED),
    ...channels.map((channel) => ctx.listener.on(channel, notify, ANY_PAYLOAD)),
  ];
  schedule(0);
  return {
    async stop() {
      for (const one of unsubscribe) one();
      clearTimeout(timer);
      await running;
    },
  };
}
