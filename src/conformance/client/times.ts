/** The times of the kit. Those that end in `Ms` are milliseconds, those that end in `S` seconds. */
export type Times = {
  /** `Retry-After` of the 429. */
  readonly retryAfter429S: number;
  /** `Retry-After` of the 503. */
  readonly retryAfter503S: number;
  /** How long the slow answer takes. A caller waits for more than 10 s. */
  readonly slowMs: number;
  /** How long an answer is withheld before the connection is closed. */
  readonly withheldMs: number;
  /** A caller that has sent nothing for this long is taken to have finished. */
  readonly quietMs: number;
  /** The same request within this time counts as a repetition, not as a new attempt of a customer. */
  readonly repeatMs: number;
  /** How long the kit waits for what a caller has to do: repeat after a 503, unpair what is paired. */
  readonly patienceMs: number;
  /** By how much a repetition may be early: clocks and timers are not exact. */
  readonly toleranceMs: number;
};

export const TIMES: Times = {
  retryAfter429S: 2,
  retryAfter503S: 1,
  slowMs: 9_000,
  withheldMs: 20_000,
  quietMs: 10_000,
  repeatMs: 30_000,
  patienceMs: 60_000,
  toleranceMs: 50,
};

/** Returns the times for a run that is faster by a factor below 1. `Retry-After` has whole seconds, so it is 1 s at least. */
export function scaledTimes(factor: number): Times {
  return {
    ...TIMES,
    retryAfter429S: Math.max(1, Math.round(TIMES.retryAfter429S * factor)),
    slowMs: TIMES.slowMs * factor,
    withheldMs: TIMES.withheldMs * factor,
    quietMs: TIMES.quietMs * factor,
    patienceMs: TIMES.patienceMs * factor,
  };
}
