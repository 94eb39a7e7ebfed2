/** A set of things that are done in one go; a result for each, in their order, or a rejection for all. */
type Work<In, Out> = (key: string, batch: readonly In[]) => Promise<Out[]>;

type Waiting<In, Out> = { readonly input: In; resolve(output: Out): void; reject(error: unknown): void };

/**
 * Lets requests under the same key share a statement, and with it a commit: one statement a key is under way, and what
 * arrives meanwhile goes into the next. A lone request waits for nothing. A set that fails for a reason of its own is
 * done again one by one, so that no request harms its neighbours. `failsAll` tells errors that are nobody's own: they
 * are for the set and for all who wait.
 */
export class Batches<In, Out> {
  /** By key, those who have no answer: first the set that is under way, then those behind it. */
  readonly #waiting = new Map<string, Waiting<In, Out>[]>();

  constructor(
    readonly work: Work<In, Out>,
    readonly largest: number,
    readonly failsAll: (error: unknown) => boolean,
  ) {}

  add(key: string, input: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(key);
      if (waiting !== undefined) return void waiting.push({ input, resolve, reject });
      const first = [{ input, resolve, reject }];
      this.#waiting.set(key, first);
      return void this.#run(key, first);
    });
  }

  async #run(key: string, waiting: Waiting<In, Out>[]): Promise<void> {
    /** So many at the head are left of a set that failed. */
    let oneByOne = 0;
    /** Tells the last set how it went. */
    let answer: (() => void) | undefined;
    while (waiting.length > 0) {
      const set = waiting.slice(0, oneByOne > 0 ? 1 : this.largest);
      const settled = this.#settle(key, set);
      // The database has the next set before the answers to the last are written.
      if (answer !== undefined) setImmediate(answer);
      const { error, outputs } = await settled;
      answer = undefined;
      const all = outputs === undefined && this.failsAll(error);
      if (outputs === undefined && !all && set.length > 1) {
        oneByOne = set.length;
        continue;
      }
      if (oneByOne > 0) oneByOne -= 1;
      // Each statement takes its time to fail: those behind have waited for one, and must not wait for more.
      const told = waiting.splice(0, all ? waiting.length : set.length);
      answer =
        outputs === undefined
          ? () => told.forEach(({ reject }) => void reject(error))
          : () => told.forEach(({ resolve }, index) => void resolve(outputs[index] as Out));
    }
    this.#waiting.delete(key);
    answer?.();
  }

  async #settle(key: string, set: readonly Waiting<In, Out>[]): Promise<{ outputs?: Out[]; error?: unknown }> {
    const inputs = set.map(({ input }) => input);
    try {
      const outputs = await this.work(key, inputs);
      if (outputs.length !== set.length) throw new TypeError(`${set.length} requests got ${outputs.length} results`);
      return { outputs };
    } catch (error) {
      return { error };
    }
  }
}
