import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, request } from 'undici';
import { signedHeaders } from '../webhooks/signature';
import { causeOf, type Feed, type FeedEvent, readFeed } from './events-feed';
import { withDeadline } from './stop';
import { line } from './text';
import type { Given } from './verb';

/** The receiver of the events, at the address that the user gave. */
export type Receiver = { readonly url: string; readonly secret: string; readonly agent: Agent };

/** What came of a delivery: an HTTP status, or why there was none. `connected`: the receiver may have got the event. */
type Delivery = { readonly durationMs: number } & (
  | { readonly status: number }
  | { readonly error: string; readonly connected: boolean }
);

/** The time that a receiver of webhooks has for its response. */
const DEADLINE_MS = 15_000;
const LARGEST_RESPONSE = 65_536;
/** How long the service may wait for an event before it answers, in seconds. */
const WAIT_S = 25;
/** The pause after an empty page that came without a wait: a service that stops answers long polls at once. */
const EMPTY_PAUSE_MS = 500;
/** Pauses before the service is asked again, in ms. The last one repeats. */
const SERVICE_PAUSES_MS = [500, 1_000, 2_000, 5_000, 10_000];
/** Pauses before the receiver is tried again, in ms. The last one repeats. */
const RECEIVER_PAUSES_MS = [250, 500, 1_000, 2_000];

/** A page that was read longer ago is read again: a user may have been forgotten meanwhile, as for webhooks. */
const FRESH_MS = 200;

/** Counts failures in a row and returns the pause after each. */
class BackOff {
  #failures = 0;
  constructor(readonly pauses: readonly number[]) {}

  /** Returns whether there was no failure since the last success. */
  get first(): boolean {
    return this.#failures === 0;
  }

  next(): number {
    const pause = this.pauses[Math.min(this.#failures, this.pauses.length - 1)] ?? 0;
    this.#failures += 1;
    return pause;
  }

  reset(): void {
    this.#failures = 0;
  }
}

/**
 * Delivers the events after a position, one at a time and in their order, until `stop` aborts. While the service or the receiver
 * is not available, it continues after the last event that was delivered. A page is read again before an event is repeated, and when
 * it is 200 ms old, so that nothing is sent of a user who was forgotten meanwhile.
 * @throws OperatorError if the service refuses the request
 */
export async function forwardEvents(
  given: Given,
  feed: Feed,
  receiver: Receiver,
  from: string,
  stop: AbortSignal,
): Promise<void> {
  const service = new BackOff(SERVICE_PAUSES_MS);
  const deliveries = new BackOff(RECEIVER_PAUSES_MS);
  let after = from;
  let started = false;
  while (!stop.aborted) {
    // The first page tells the position to begin with, so it must not wait.
    const asked = performance.now();
    const answer = await readFeed(feed, after, started && after !== 'latest' ? WAIT_S : 0, stop);
    if ('unavailable' in answer) {
      if (service.first) given.warn(`${feed.url} is not available (${answer.unavailable}), reconnecting`);
      await sleep(Math.max(service.next(), answer.retryAfterMs ?? 0), undefined, { signal: stop });
      continue;
    }
    if (!service.first) given.warn(`${feed.url} is available again`);
    service.reset();
    if ('expired' in answer) {
      given.warn(`the events after position ${after} are not kept any more: continuing with new events`);
      after = 'latest';
      continue;
    }
    const { items, next_after } = answer.page;
    if (!started) await printStart(given, feed, receiver, after === 'latest' ? next_after : after);
    started = true;
    after = await deliverPage(items, next_after);
    if (items.length === 0 && performance.now() - asked < EMPTY_PAUSE_MS)
      await sleep(EMPTY_PAUSE_MS, undefined, { signal: stop });
  }

  /**
   * Delivers events until the page is old or the receiver cannot be connected. Returns the position of the last one that was delivered,
   * or where the page ends.
   */
  async function deliverPage(items: readonly FeedEvent[], end: string): Promise<string> {
    const readAt = performance.now();
    let delivered = after;
    for (const event of items) {
      if (delivered !== after && performance.now() - readAt > FRESH_MS) return delivered;
      const delivery = await deliver(receiver, event, stop);
      if ('error' in delivery && !delivery.connected) {
        if (deliveries.first) given.warn(`${receiver.url} cannot be connected (${delivery.error}), trying again`);
        await sleep(deliveries.next(), undefined, { signal: stop });
        return delivered;
      }
      deliveries.reset();
      await printDelivery(given, event, delivery);
      delivered = event.position;
    }
    return end;
  }
}

/** Sends an event once, as a webhook is sent. A redirect is not followed. */
async function deliver({ url, secret, agent }: Receiver, event: FeedEvent, stop: AbortSignal): Promise<Delivery> {
  const body = JSON.stringify(event);
  const headers = { 'content-type': 'application/json', ...signedHeaders([secret], event.id, Date.now(), body) };
  const began = performance.now();
  const durationMs = () => Math.round(performance.now() - began);
  try {
    return await withDeadline(stop, DEADLINE_MS, async (signal) => {
      const response = await request(url, { method: 'POST', headers, body, dispatcher: agent, signal });
      const delivery = { status: response.statusCode, durationMs: durationMs() };
      await response.body.dump({ limit: LARGEST_RESPONSE }).catch(() => undefined);
      return delivery;
    });
  } catch (error) {
    stop.throwIfAborted();
    return { error: causeOf(error), connected: !isConnectError(error), durationMs: durationMs() };
  }
}

const CONNECT_ERRORS = [
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
];

/** Returns whether no connection was made, so that the receiver cannot have got the event. */
function isConnectError(error: unknown): boolean {
  const { code }: { code?: unknown } = Object(error);
  return CONNECT_ERRORS.includes(String(code));
}

function printStart(given: Given, feed: Feed, receiver: Receiver, after: string): Promise<void> {
  return given.print({
    row: { following: feed.url, after, forward_to: receiver.url },
    line: `following ${feed.url} after position ${after}, delivering to ${receiver.url}`,
  });
}

function printDelivery(given: Given, event: FeedEvent, delivery: Delivery): Promise<void> {
  const time = new Date().toISOString();
  const { id, type, position } = event;
  const { durationMs } = delivery;
  const [status, error] = 'status' in delivery ? [delivery.status, undefined] : [undefined, delivery.error];
  return given.print({
    row: { time, type, event_id: id, position, status, error, duration_ms: durationMs },
    line: line([time, type.padEnd(25), id, status ?? error, `${durationMs} ms`]),
  });
}
