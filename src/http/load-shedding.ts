import type { RequestHandler, Response } from 'express';
import { Counts } from '../delivery/counts';
import type { Metrics } from '../metrics/metrics';
import type { ShedReason } from '../metrics/requests';
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

/** The share of a caller's slots that a self-service CPO gets. All of them get half of the process's: anybody can create one. */
const SELF_SERVICE_SHARE = 1 / 4;
const ALL_SELF_SERVICE_SHARE = 1 / 2;

/**
 * The slots that a self-service CPO takes on one connection. Requests that are pipelined behind a response that waits keep theirs
 * until it is sent, and one that waits holds none itself.
 */
const SELF_SERVICE_PER_CONNECTION = 8;

const RETRY_AFTER = { 'Retry-After': '1' };

/** Returns the problem of a limit: that of the caller's own, or that of the process. */
const problemOf = (reached: ShedReason) =>
  reached === 'caller'
    ? new Problem('too-many-requests', { headers: RETRY_AFTER })
    : new Problem('unavailable', { message: 'Too many requests at once, please try again.' });

/** Who takes a slot: the party, on a connection. */
type Holder = { readonly party: string; readonly selfService: boolean; readonly connection: unknown };

/** Counts the slots of one kind: in total, by CPO or app, and of self-service CPOs also together and by connection. */
class Slots {
  readonly #taken = new Counts();

  constructor(
    readonly kind: ShedReason,
    readonly limit: number,
    readonly perCaller = Number.POSITIVE_INFINITY,
  ) {}

  get taken(): number {
    return this.#taken.of(ALL);
  }

  /** Takes a slot, or returns the limit that is reached. */
  take(holder: Holder): ShedReason | undefined {
    const { party, selfService, connection } = holder;
    const perCaller = selfService ? Math.ceil(this.perCaller * SELF_SERVICE_SHARE) : this.perCaller;
    if (this.#taken.of(party) >= perCaller) return 'caller';
    if (selfService && this.#taken.of(connection) >= SELF_SERVICE_PER_CONNECTION) return 'caller';
    if (this.taken >= this.limit) return this.kind;
    if (selfService && this.#taken.of(SELF_SERVICE) >= this.limit * ALL_SELF_SERVICE_SHARE) return 'self_service';
    this.#count(holder, 1);
    return undefined;
  }

  free(holder: Holder): void {
    this.#count(holder, -1);
  }

  #count({ party, selfService, connection }: Holder, difference: 1 | -1): void {
    const keys = [ALL, party, ...(selfService ? [SELF_SERVICE, connection] : [])];
    for (const key of keys) this.#taken.add(key, difference);
  }
}

const ALL = Symbol('all');
const SELF_SERVICE = Symbol('self-service');

/** Steps at which a request takes a slot of that kind, and releases the one that it held before. */
export type LoadShedding = Readonly<Record<'bodies' | 'requests' | 'longPolls' | 'pages', RequestHandler>>;

/** The slot that each response holds. */
const held = new WeakMap<Response, { slots: Slots; holder: Holder }>();

/** Frees the slot of a request before its response is sent, if it has one: it waits, and others count how many do. */
export function freeSlot(res: Response): void {
  const slot = held.get(res);
  held.delete(res);
  slot?.slots.free(slot.holder);
}

/**
 * Refuses requests beyond the limits at once: a client that waited in a queue would give up and send its request again.
 * @returns steps that throw Problem `too-many-requests` at the limit of a caller, `unavailable` at that of the process
 */
export function createLoadShedding(
  limits: LoadLimits,
  metrics: Pick<Metrics, 'requestShed' | 'readFrom'>,
): LoadShedding {
  const step =
    (slots: Slots): RequestHandler =>
    (_req, res, next) => {
      // Its slot would never be released, and nobody would get the response.
      if (disconnected(res)) return;
      const caller = res.locals.caller as Caller | undefined;
      const party = caller === undefined ? '' : partyOf(caller);
      const holder = { party, selfService: caller?.cpo?.sandbox === true, connection: res.req.socket };
      const reached = slots.take(holder);
      if (reached !== undefined) {
        metrics.requestShed(reached);
        throw problemOf(reached);
      }
      if (held.has(res)) freeSlot(res);
      else res.once('close', () => freeSlot(res));
      held.set(res, { slots, holder });
      next();
    };
  const requests = new Slots('requests', limits.requests, limits.requestsPerCaller);
  const longPolls = new Slots('long_polls', limits.longPolls, limits.longPollsPerCaller);
  metrics.readFrom({ requestsInFlight: () => requests.taken, longPolls: () => longPolls.taken });
  return {
    bodies: step(new Slots('bodies', limits.bodies, limits.bodiesPerCaller)),
    requests: step(requests),
    longPolls: step(longPolls),
    pages: step(new Slots('pages', limits.pages)),
  };
}
