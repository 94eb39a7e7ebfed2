import { Problem } from '../problems';

export type BatcherOptions<In, Out> = {
  /** Does a set in one go: a result for each input, in their order, or a rejection for all. */
  readonly work: (set: readonly In[]) => Promise<Out[]>;
  /** So many inputs share a set at most. */
  readonly largest: number;
  /** Whether an error concerns everybody (the database is away), so that nothing is tried again one by one. */
  readonly failsAll: (error: unknown) => boolean;
};

/** When an input must have begun and when it must have been answered, in terms of `performance.now()`. */
export type Deadlines = { readonly startBy: number; readonly answerBy: number };

/** With the time-outs of a statement, a caller has its answer within 5 s (contract, section 7). */
const START_WITHIN_MS = 2_000;
const ANSWER_WITHIN_MS = 4_900;

/** The deadlines of a request that has just come, for all of its turns together. */
export function requestDeadlines(): Deadlines {
  const now = performance.now();
  return { startBy: now + START_WITHIN_MS, answerBy: now + ANSWER_WITHIN_MS };
}

type Waiting<In, Out> = {
  readonly input: In;
  readonly startBy: number;
  readonly resolve: (output: Out) => void;
  readonly reject: (error: unknown) => void;
};

/** More than a process takes requests: whoever comes beyond it is refused. */
const MOST_WAITING = 1_024;

/**
 * Lets requests share a statement, and with it a commit: one set is under way, and what arrives meanwhile goes into the next
 * one. A lone request waits for nothing. Keys (CPOs) take turns, so that one with many requests delays no other. A set that
 * fails is done again one by one, so that no request harms its neighbours.
 */
export class Batcher<In, Out> {
  /** By key, in the order of their turns; each list in the order of arrival. */
  readonly #queues = new Map<string, Waiting<In, Out>[]>();
  /** What is left of a set that has failed, to be done one by one. */
  #alone: Waiting<In, Out>[] = [];
  #waiting = 0;
  #running = false;

  constructor(readonly options: BatcherOptions<In, Out>) {}

  /**
   * Returns the result of one input.
   * @throws Problem `unavailable` when the queue is full or a deadline has passed: whether the work was done is not known then
   */
  add(key: string, input: In, { startBy, answerBy }: Deadlines): Promise<Out> {
    if (this.#waiting >= MOST_WAITING) return Promise.reject(new Problem('unavailable'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Problem('unavailable')), answerBy - performance.now());
      const waiting: Waiting<In, Out> = {
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
      if (queue === undefined) this.#queues.set(key, [waiting]);
      else queue.push(waiting);
      this.#waiting += 1;
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    /** Gives the last set its answers. */
    let answer = () => {};
    for (let set = this.#next(); set.length > 0; set = this.#next()) {
      const settled = this.#settle(set);
      // The database has the next set before the answers to the last are written.
      setImmediate(answer);
      answer = await settled;
    }
    this.#running = false;
    answer();
  }

  /** The next set: one input of each key in turn. Whoever has waited too long is refused. */
  #next(): Waiting<In, Out>[] {
    const alone = this.#alone.shift();
    if (alone !== undefined) return [alone];
    const set: Waiting<In, Out>[] = [];
    const now = performance.now();
    while (set.length < this.options.largest) {
      const [first] = this.#queues;
      if (first === undefined) break;
      const [key, queue] = first;
      const waiting = queue.shift();
      this.#queues.delete(key);
      if (queue.length > 0) this.#queues.set(key, queue);
      if (waiting === undefined) continue;
      this.#waiting -= 1;
      if (waiting.startBy < now) waiting.reject(new Problem('unavailable'));
      else set.push(waiting);
    }
    return set;
  }

  /** Does a set; returns what gives the answers. */
  async #settle(set: readonly Waiting<In, Out>[]): Promise<() => void> {
    try {
      const outputs = await this.options.work(set.map(({ input }) => input));
      if (outputs.length !== set.length) throw new TypeError(`${set.length} requests got ${outputs.length} results`);
      return () => set.forEach(({ resolve }, index) => void resolve(outputs[index] as Out));
    } catch (error) {
      if (!this.options.failsAll(error) && set.length > 1) {
        this.#alone.push(...set);
        return () => {};
      }
      // Whoever waits behind the set has waited for one time-out, and must not wait for another.
      const failed = this.options.failsAll(error) ? [...set, ...this.#takeAll()] : set;
      return () => failed.forEach(({ reject }) => void reject(error));
    }
  }

  #takeAll(): Waiting<In, Out>[] {
    const all = [...this.#alone, ...[...this.#queues.values()].flat()];
    this.#alone = [];
    this.#queues.clear();
    this.#waiting = 0;
    return all;
  }
}
