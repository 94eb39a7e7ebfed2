import type { RequestHandler, Response } from 'express';
import { Problem } from '../problems';
import { type Caller, partyOf } from '../tokens/caller';
import { disconnected } from './client-disconnect';

/**
 * The number of requests of each kind that a process accepts at once, in total and from one CPO or app: requests whose body
 * has not arrived, of up to 64 KiB each; requests in progress; long polls, which hold no database connection; and requests
 * without a token.
 */
export type LoadLimits = {
  readonly bodies: number;
  readonly bodiesPerCaller: number;
  readonly requests: number;
  readonly requestsPerCaller: number;
  readonly longPolls: number;
  readonly longPollsPerCaller: number;
  readonly pages: number;
};

/**
 * A process answers this many requests within the second or two that callers wait; more would only wait longer. The share
 * of one caller is a setting.
 */
export const LOAD_LIMITS: Omit<LoadLimits, 'requestsPerCaller'> = {
  bodies: 2_048,
  bodiesPerCaller: 512,
  requests: 512,
  longPolls: 5_000,
  longPollsPerCaller: 2_500,
  pages: 256,
};

const RETRY_AFTER = { 'Retry-After': '1' };

/** Counts the slots of one kind, in total and by CPO or app. */
class Slots {
  #taken = 0;
  readonly #takenBy = new Map<string, number>();

  constructor(
    readonly limit: number,
    readonly perCaller: number,
  ) {}

  /** @throws Problem `too-many-requests` at the caller's own limit, `unavailable` at that of the process */
  take(party: string): void {
    const own = this.#takenBy.get(party) ?? 0;
    if (own >= this.perCaller) throw new Problem('too-many-requests', { headers: RETRY_AFTER });
    if (this.#taken >= this.limit)
      throw new Problem('unavailable', { message: 'Too many requests at once, please try again.' });
    this.#takenBy.set(party, own + 1);
    this.#taken += 1;
  }

  free(party: string): void {
    const own = this.#takenBy.get(party) ?? 0;
    if (own > 1) this.#takenBy.set(party, own - 1);
    else this.#takenBy.delete(party);
    this.#taken -= 1;
  }
}

/** Steps at which a request takes a slot of that kind, and releases the one that it held before. */
export type LoadShedding = Readonly<Record<'bodies' | 'requests' | 'longPolls' | 'pages', RequestHandler>>;

/** Refuses requests beyond the limits at once: a client that waited in a queue would give up and send its request again. */
export function createLoadShedding(limits: LoadLimits): LoadShedding {
  const held = new WeakMap<Response, { slots: Slots; party: string }>();
  const free = (res: Response) => {
    const slot = held.get(res);
    held.delete(res);
    slot?.slots.free(slot.party);
  };
  const step = (limit: number, perCaller = Number.POSITIVE_INFINITY): RequestHandler => {
    const slots = new Slots(limit, perCaller);
    return (_req, res, next) => {
      // Its slot would never be released, and nobody would get the response.
      if (disconnected(res)) return;
      const caller = res.locals.caller as Caller | undefined;
      const party = caller === undefined ? '' : partyOf(caller);
      slots.take(party);
      if (held.has(res)) free(res);
      else res.once('close', () => free(res));
      held.set(res, { slots, party });
      next();
    };
  };
  return {
    bodies: step(limits.bodies, limits.bodiesPerCaller),
    requests: step(limits.requests, limits.requestsPerCaller),
    longPolls: step(limits.longPolls, limits.longPollsPerCaller),
    pages: step(limits.pages),
  };
}
