import { setTimeout as sleep } from 'node:timers/promises';
import { Problem } from '../problems';

export type BatcherOptions<In, Out> = {
  /** Processes a batch: resolves with one result per input, in the same order, or rejects for all. */
  readonly work: (batch: readonly In[]) => Promise<Out[]>;
  readonly maxBatchSize: number;
  /** How long each batch waits for inputs, in ms. Undefined: a lone input starts at once. */
  readonly gatherMs?: number;
  /** Whether an error fails all pending inputs (the database is unavailable), so that none is retried on its own. */
  readonly failsAll: (error: unknown) => boolean;
};

/** Holds the times by which an input must be started and answered, on the clock of `performance.now()` (ms). */
export type Deadlines = { readonly startBy: number; readonly answerBy: number };

/** Together with the statement time-outs, these keep every response within 5 s (contract, section 7). */
const START_WITHIN_MS = 2_000;
const ANSWER_WITHIN_MS = 4_900;

/** Returns the deadlines of a new request. They also cover its retries. */
export function requestDeadlines(): Deadlines {
  const now = performance.now();
  return { startBy: now + START_WITHIN_MS, answerBy: now + ANSWER_WITHIN_MS };
}

type Pending<In, Out> = {
  readonly input: In;
  readonly startBy: number;
  readonly resolve: (output: Out) => void;
  readonly reject: (error: unknown) => void;
};

/** Exceeds the requests that a process accepts at a time, so it is only reached when something is wrong. */
const MAX_PENDING = 1_024;

/**
 * Batches requests so that they share a statement and its commit. One batch runs at a time; requests that arrive
 * meanwhile form the next one, and a lone request starts at once unless there is a time to gather. Keys (CPOs) are
 * served round-robin, so that a busy key does not delay the others. A batch that fails is retried one request at a
 * time, so that one request cannot fail another.
 */
export class Batcher<In, Out> {
  /** Keys in round-robin order, each with its requests in order of arrival. */
  readonly #queues = new Map<string, Pending<In, Out>[]>();
  /** Requests of a failed batch, to be retried one at a time. */
  #retries: Pending<In, Out>[] = [];
  #queued = 0;
  #running = false;

  constructor(readonly options: BatcherOptions<In, Out>) {}

  /** The inputs that wait for a batch. */
  get queued(): number {
    return this.#queued;
  }

  /**
   * Queues an input and returns its result.
   * @throws Problem `unavailable` if the queue is full or a deadline has passed; the work may still have been done
   */
  add(key: string, input: In, { startBy, answerBy }: Deadlines): Promise<Out> {
    if (this.#queued >= MAX_PENDING) return Promise.reject(new Problem('unavailable'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Problem('unavailable')), answerBy - performance.now());
      const pending: Pending<In, Out> = {
        input,
        startBy,
        resolve: (output) => {
          clearTimeout(timer);
          resolve(output);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const queue = this.#queues.get(key);
      if (queue === undefined) this.#queues.set(key, [pending]);
      else queue.push(pending);
      this.#queued += 1;
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    const { gatherMs } = this.options;
    if (gatherMs !== undefined) await sleep(gatherMs);
    /** Settles the promises of the previous batch. */
    let settle = () => {};
    for (let batch = this.#nextBatch(); batch.length > 0; batch = this.#nextBatch()) {
      const processed = this.#process(batch);
      // Send the next batch to the database before the responses of the previous one are written.
      setImmediate(settle);
      settle = await processed;
      if (gatherMs === undefined) continue;
      settle();
      settle = () => {};
      await sleep(gatherMs);
    }
    this.#running = false;
    settle();
  }

  /**
   * Removes the next batch from the queues, one input per key in turn. Inputs past their start deadline are rejected.
   */
  #nextBatch(): Pending<In, Out>[] {
    const retry = this.#retries.shift();
    if (retry !== undefined) return [retry];
    const batch: Pending<In, Out>[] = [];
    const now = performance.now();
    while (batch.length < this.options.maxBatchSize) {
      const [first] = this.#queues;
      if (first === undefined) break;
      const [key, queue] = first;
      const pending = queue.shift();
      this.#queues.delete(key);
      if (queue.length > 0) this.#queues.set(key, queue);
      if (pending === undefined) continue;
      this.#queued -= 1;
      if (pending.startBy < now) pending.reject(new Problem('unavailable'));
      else batch.push(pending);
    }
    return batch;
  }

  /** Processes a batch and returns a function that settles its promises. */
  async #process(batch: readonly Pending<In, Out>[]): Promise<() => void> {
    try {
      const outputs = await this.options.work(batch.map(({ input }) => input));
      if (outputs.length !== batch.length)
        throw new TypeError(`${batch.length} requests got ${outputs.length} results`);
      return () => batch.forEach(({ resolve }, index) => void resolve(outputs[index] as Out));
    } catch (error) {
      if (!this.options.failsAll(error) && batch.length > 1) {
        this.#retries.push(...batch);
        return () => {};
      }
      // Queued requests have already waited for one time-out. Fail them too, instead of letting them wait for another.
      const failed = this.options.failsAll(error) ? [...batch, ...this.#takeAll()] : batch;
      return () => failed.forEach(({ reject }) => void reject(error));
    }
  }

  #takeAll(): Pending<In, Out>[] {
    const all = [...this.#retries, ...[...this.#queues.values()].flat()];
    this.#retries = [];
    this.#queues.clear();
    this.#queued = 0;
    return all;
  }
}
