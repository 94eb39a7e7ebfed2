import type { Context } from '../context';
import { ANY_PAYLOAD } from '../db/listener';
import { rows, transaction } from '../db/query';
import { EVENTS_CHANNEL, UNPUBLISHED } from './events';

type PublishContext = Pick<Context, 'db' | 'log' | 'stopping'>;

/** Limits the events that one statement publishes, to stay well below the statement time-out. */
const BATCH = 500;
/**
 * `pollMs`: for events of a replica that notifies nobody, and for a notification that came while another replica published.
 * `pauseMs`: after a run, so that events that follow closely share the next one.
 */
export const PUBLISH_TIMES = { pollMs: 500, pauseMs: 25 };

const PUBLISH = 'select published, more, restarted from scsp_publish_events_v1($1)';
type Published = { readonly published: number; readonly more: boolean; readonly restarted: boolean };

/**
 * Publishes committed events until there are none (contract, section 9). Does nothing while another replica is doing so.
 * @returns the number of events published
 * @throws Problem `unavailable`
 */
export async function publishEvents(ctx: PublishContext, batchSize = BATCH): Promise<number> {
  let total = 0;
  for (let more = true; more && !ctx.stopping.aborted; ) {
    const [batch] = await transaction(ctx.db, (tx) => rows<Published>(tx, PUBLISH, [batchSize]), 'READ COMMITTED');
    if (batch?.restarted)
      ctx.log.warn('the database was restored or failed over: positions of events go on higher, followers start anew');
    total += batch?.published ?? 0;
    more = batch?.more ?? false;
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
  const run = async () => {
    notified = false;
    try {
      await publishEvents(ctx);
      failing = false;
    } catch (error) {
      if (!failing) ctx.log.warn('events could not be published, retrying', { reason: String(error) });
      failing = true;
    }
    running = undefined;
    schedule(notified ? PUBLISH_TIMES.pauseMs : PUBLISH_TIMES.pollMs);
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
