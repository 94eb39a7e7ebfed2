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
    let answer = () => {};
    for (;;) {
      const waiting = this.#waiting.get(key) ?? [];
      if (waiting.length === 0) {
        this.#waiting.delete(key);
        return answer();
      }
      const settled = this.#settle(key, waiting.splice(0, this.largest));
      // The database has the next set before the answers to this one are written.
      setImmediate(answer);
      answer = await settled;
    }
  }

  /** @returns what tells the requests how it went; those that are done one by one are told at once */
  async #settle(key: string, batch: readonly Waiting<In, Out>[]): Promise<() => void> {
    try {
      const outputs = await this.work(
        key,
        batch.map(({ input }) => input),
      );
      return () =>
        batch.forEach(({ resolve }, index) => {
          resolve(outputs[index] as Out);
        });
    } catch (error) {
      const all = this.failsAll(error);
      if (batch.length > 1 && !all) {
        for (const one of batch) (await this.#settle(key, [one]))();
        return () => {};
      }
      // Each statement takes its time to fail: those behind have waited for one, and must not wait for more.
      const behind = all ? (this.#waiting.get(key)?.splice(0) ?? []) : [];
      return () => [...batch, ...behind].forEach(({ reject }) => void reject(error));
    }
  }
}
