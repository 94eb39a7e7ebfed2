import { pairStations, percentile } from '../measure';
import { scaled } from '../options';
import type { HttpTarget } from '../target';
import type { Observer } from './observer';

/** Pairings per second, `saturation` being those of 32 callers in the same round, and when the receiver answers. */
type Pace = { readonly name: string; readonly rate: (saturation: number) => number; readonly answerAfterMs: number };
export const PACES: readonly Pace[] = [
  { name: 'half of saturation, answered at once', rate: (saturation) => saturation / 2, answerAfterMs: 0 },
  { name: '50 a second, answered after 100 ms', rate: () => 50, answerAfterMs: 100 },
];
const SECONDS = 20;
/** Enough that one is always free. */
const CONNECTIONS = 128;

/** Pairings per second that were sent; times in ms. */
export const TIMES = ['rps', 'attemptP50', 'attemptP99', 'feedP50', 'feedP99'] as const;
export type Times = Readonly<Record<(typeof TIMES)[number], number>>;

/**
 * Times events from `paired_at`, which PostgreSQL reads from the clock when it inserts the pairing, before the commit. So the times
 * contain the rest of that statement, its commit and publishing; to the receiver also the claim of the delivery, signing and
 * sending, to the follower the wake-up and the reading of its `GET /v1/events?wait=30`. Clocks are read in whole milliseconds.
 */
export async function timeEvents(
  service: HttpTarget,
  endpoints: number,
  observer: Observer,
  { rate: rateOf, answerAfterMs }: Pace,
  saturation: number,
): Promise<Times> {
  const rate = rateOf(saturation);
  const mix = { name: 'paced', cpos: 10, connections: CONNECTIONS, rate };
  await pairStations(service, mix, CONNECTIONS);
  await observer.order({ noteAndAnswerAfterMs: answerAfterMs });
  const count = scaled(rate * SECONDS, 1);
  const { rps } = await pairStations(service, mix, count);
  const { webhooks, feed } = await observer.order({ expected: count });
  if (feed.length !== count || webhooks.length !== count * endpoints)
    throw new Error(`Of ${count} events ${feed.length} came by the feed, and ${webhooks.length} by webhook.`);
  return {
    rps,
    attemptP50: percentile(webhooks, 0.5),
    attemptP99: percentile(webhooks, 0.99),
    feedP50: percentile(feed, 0.5),
    feedP99: percentile(feed, 0.99),
  };
}
