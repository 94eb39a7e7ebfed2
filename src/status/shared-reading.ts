import { setTimeout as sleep } from 'node:timers/promises';
import type { StoredState } from './stored-state';

/**
 * `everyMs`: how often is read at most. `waitMs`: how long a scrape waits for a reading, so that it is answered within 2 s. `keepMs`: how
 * long values are shown after their reading; then rather none than old ones.
 */
export type ReadingTimes = { readonly everyMs: number; readonly waitMs: number; readonly keepMs: number };
export const READING_TIMES: ReadingTimes = { everyMs: 10_000, waitMs: 1_500, keepMs: 60_000 };

type Reading = { readonly state: StoredState; readonly at: number };

/** Reads the stored state for all scrapes together, one reading at a time. */
export class SharedReading {
  readonly #times: ReadingTimes;
  #last: Reading | undefined;
  #reading: Promise<void> | undefined;
  #startedAt = Number.NEGATIVE_INFINITY;

  constructor(
    readonly read: () => Promise<StoredState>,
    times: Partial<ReadingTimes> = {},
    readonly now: () => number = () => performance.now(),
  ) {
    this.#times = { ...READING_TIMES, ...times };
  }

  /** The database's time of the latest complete reading, however old. */
  get lastReadAt(): Date | undefined {
    return this.#last?.state.readAt;
  }

  /** Returns the latest complete reading, after a new one if it is time. Undefined if there is none, or only an old one. */
  async latest(): Promise<StoredState | undefined> {
    const { everyMs, waitMs, keepMs } = this.#times;
    if (this.#reading === undefined && this.now() - this.#startedAt >= everyMs) this.#start();
    if (this.#reading !== undefined) {
      const timer = new AbortController();
      await Promise.race([this.#reading, sleep(waitMs, undefined, timer).catch(() => undefined)]);
      timer.abort();
    }
    return this.#last !== undefined && this.now() - this.#last.at <= keepMs ? this.#last.state : undefined;
  }

  #start(): void {
    const at = this.now();
    this.#startedAt = at;
    const done = (state?: StoredState) => {
      if (state !== undefined) this.#last = { state, at };
      this.#reading = undefined;
    };
    // The age of the last reading is a metric of its own, and every other part of the service reports the failure.
    this.#reading = this.read().then(done, () => done());
  }
}
