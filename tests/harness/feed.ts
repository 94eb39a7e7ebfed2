import type { Harness } from './harness';
import { untilAnswered } from './until';

/** An event as a test reads it. */
export type AnEvent = { id: string; type: string; timestamp: string; position: string; data: Record<string, unknown> };

/** Reads the events after a position, as an app or with another token. */
export const eventsAfter = (service: Harness, query = '', token = service.appToken) =>
  service.request('GET', `/v1/events?${query}`, { token });

/** Returns the present end of the feed. */
export const endOf = async (service: Harness): Promise<string> =>
  (await eventsAfter(service, 'after=latest')).body.next_after;

/**
 * Follows the events with long polls until one is as wanted.
 * @returns every event after `after`, up to that one
 * @throws Error when there is none for half a minute
 */
export async function followUntil(
  service: Harness,
  after: string,
  wanted: (event: AnEvent) => boolean,
  token = service.appToken,
): Promise<AnEvent[]> {
  const seen: AnEvent[] = [];
  for (;;) {
    const { status, body } = await untilAnswered(() => eventsAfter(service, `after=${after}&wait=30`, token));
    if (status !== 200 || body.items.length === 0)
      throw new Error(`no such event after ${seen.length} others: ${JSON.stringify([status, body])}`);
    for (const event of body.items as AnEvent[]) {
      seen.push(event);
      if (wanted(event)) return seen;
    }
    after = body.next_after;
  }
}
