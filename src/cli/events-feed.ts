import { type Agent, request } from 'undici';
import { OperatorError } from '../problems';
import { withDeadline } from './stop';

/** The time that a request has beyond its `wait`. */
const DEADLINE_MS = 10_000;

/** An event as the service sent it. */
export type FeedEvent = { readonly id: string; readonly type: string; readonly position: string };
export type FeedPage = { readonly items: readonly FeedEvent[]; readonly next_after: string };

/** The feed of a service. */
export type Feed = {
  readonly url: string;
  readonly token: string;
  readonly types: string | undefined;
  readonly agent: Agent;
};

/** What a request for a page led to: the page, a position whose events are gone, or a service that is not available. */
export type FeedAnswer =
  | { readonly page: FeedPage }
  | { readonly expired: true }
  | { readonly unavailable: string; readonly retryAfterMs: number | undefined };

/**
 * Requests the events after a position (or `latest`).
 * @param wait how long the service may wait for an event if there is none, in seconds
 * @throws OperatorError if repeating the request is of no use
 */
export async function readFeed(feed: Feed, after: string, wait: number, stop: AbortSignal): Promise<FeedAnswer> {
  const query = new URLSearchParams({ after, wait: String(wait), ...(feed.types && { types: feed.types }) });
  let status: number;
  let retryAfter: string | undefined;
  let text: string;
  try {
    ({ status, retryAfter, text } = await withDeadline(stop, wait * 1_000 + DEADLINE_MS, async (signal) => {
      const response = await request(`${feed.url}/v1/events?${query}`, {
        headers: { authorization: `Bearer ${feed.token}`, accept: 'application/json' },
        dispatcher: feed.agent,
        signal,
      });
      const retryAfter = String(response.headers['retry-after'] ?? '') || undefined;
      return { status: response.statusCode, retryAfter, text: await response.body.text() };
    }));
  } catch (error) {
    stop.throwIfAborted();
    return { unavailable: causeOf(error), retryAfterMs: undefined };
  }
  if (status === 410) return { expired: true };
  if (status === 429 || status >= 500)
    return { unavailable: `it answers ${status}`, retryAfterMs: readRetryAfter(retryAfter) };
  const body = parse(text);
  if (status === 200 && isFeedPage(body)) return { page: body };
  throw refusal(feed.url, status, body);
}

/** Returns why a request got no response. An error of several addresses has no message of its own. */
export function causeOf(error: unknown): string {
  const { message, code }: { message?: unknown; code?: unknown } = Object(error);
  return String(message || code || error);
}

/** Returns the waiting time of a `Retry-After` header in ms; undefined if it is not a number of seconds. */
function readRetryAfter(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) * 1_000 : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const hasText = (value: object, name: string) => typeof Reflect.get(value, name) === 'string';

function isFeedPage(body: unknown): body is FeedPage {
  if (typeof body !== 'object' || body === null || !hasText(body, 'next_after')) return false;
  const items: unknown = Reflect.get(body, 'items');
  const isEvent = (item: unknown) =>
    typeof item === 'object' && item !== null && ['id', 'type', 'position'].every((name) => hasText(item, name));
  return Array.isArray(items) && items.every(isEvent);
}

function refusal(url: string, status: number, body: unknown): OperatorError {
  if (status === 401)
    return new OperatorError(
      `${url} rejected the token (401): it is not a token of this service, or it has expired or was revoked. Set SCSP_TOKEN to a token of scsp token issue --app NAME`,
    );
  if (status === 403)
    return new OperatorError(
      `${url} does not let this token read events (403): set SCSP_TOKEN to a token of scsp token issue --app NAME`,
    );
  if (status === 400) return new OperatorError(`${url} rejected the request: ${reasonsIn(body)}`);
  return new OperatorError(
    status === 200
      ? `${url}/v1/events is not the feed of scsp-pairing: check SCSP_URL`
      : `${url}/v1/events answered ${status}: check SCSP_URL`,
  );
}

/** Returns the messages of a problem (RFC 9457). */
function reasonsIn(body: unknown): string {
  const errors: unknown = Reflect.get(Object(body), 'errors');
  const messages = (Array.isArray(errors) ? errors : []).map((error) => {
    const pointer = String(Reflect.get(Object(error), 'pointer') ?? '');
    return `${pointer.slice(1)} ${Reflect.get(Object(error), 'message')}`.trim();
  });
  return messages.join('; ') || String(Reflect.get(Object(body), 'message') ?? '400');
}
