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
    for (;;) {
      const waiting = this.#waiting.get(key) ?? [];
      if (waiting.length === 0) return void this.#waiting.delete(key);
      await this.#settle(key, waiting.splice(0, this.largest));
    }
  }

  async #settle(key: string, batch: readonly Waiting<In, Out>[]): Promise<void> {
    try {
      const outputs = await this.work(
        key,
        batch.map(({ input }) => input),
      );
      batch.forEach(({ resolve }, index) => {
        resolve(outputs[index] as Out);
      });
    } catch (error) {
      const all = this.failsAll(error);
      if (batch.length > 1 && !all) for (const one of batch) await this.#settle(key, [one]);
      else for (const { reject } of batch) reject(error);
      // Each statement takes its time to fail: those behind have waited for one, and must not wait for more.
      if (all) for (const { reject } of this.#waiting.get(key)?.splice(0) ?? []) reject(error);
    }
  }
}
