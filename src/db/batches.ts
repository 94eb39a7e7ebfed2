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
      this.#waiting.set(key, [{ input, resolve, reject }]);
      return void this.#run(key);
    });
  }

  async #run(key: string): Promise<void> {
    /** Tells the last set how it went. */
    let answer: (() => void) | undefined;
    for (;;) {
      const waiting = this.#waiting.get(key) ?? [];
      if (waiting.length === 0) {
        this.#waiting.delete(key);
        return answer?.();
      }
      const settled = this.#settle(key, waiting.splice(0, this.largest), [waiting]);
      // The database has the next set before the answers to the last are written.
      if (answer !== undefined) setImmediate(answer);
      answer = await settled;
    }
  }

  /**
   * @param behind those who wait until this set is done
   * @returns what tells the requests how it went; those that are done one by one are told at once
   */
  async #settle(key: string, set: Waiting<In, Out>[], behind: readonly Waiting<In, Out>[][]): Promise<() => void> {
    const inputs = set.map(({ input }) => input);
    try {
      const outputs = await this.work(key, inputs);
      if (outputs.length !== set.length) throw new TypeError(`${set.length} requests got ${outputs.length} results`);
      return () => set.forEach(({ resolve }, index) => void resolve(outputs[index] as Out));
    } catch (error) {
      if (this.failsAll(error)) {
        // Each statement takes its time to fail: those behind have waited for one, and must not wait for more.
        const all = [set, ...behind].flatMap((waiting) => waiting.splice(0));
        return () => all.forEach(({ reject }) => void reject(error));
      }
      if (set.length === 1) return () => set[0]?.reject(error);
      while (set.length > 0) (await this.#settle(key, set.splice(0, 1), [set, ...behind]))();
      return () => {};
    }
  }
}
