/** A set of things that are done in one go; a result for each, in their order, or a rejection for all. */
type Work<In, Out> = (key: string, batch: readonly In[]) => Promise<Out[]>;

type Waiting<In, Out> = { readonly input: In; resolve(output: Out): void; reject(error: unknown): void };

/**
 * Lets requests under the same key share a statement, and with it a commit: while a set is under way, what arrives is
 * gathered for the next. A lone request waits for nothing. A set that fails for a reason of its own is done again one by
 * one, so that no request harms its neighbours. `failsAll` tells errors that are nobody's own: they are for the set and
 * for all who wait. `depth` sets a key may be under way at once; one that does not wait for the set before is a full one.
 */
export class Batches<In, Out> {
  readonly #keys = new Map<string, { readonly waiting: Waiting<In, Out>[]; underWay: number }>();

  constructor(
    readonly work: Work<In, Out>,
    readonly largest: number,
    readonly failsAll: (error: unknown) => boolean,
    readonly depth = 1,
  ) {}

  add(key: string, input: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      const of = this.#keys.get(key) ?? { waiting: [], underWay: 0 };
      this.#keys.set(key, of);
      of.waiting.push({ input, resolve, reject });
      this.#next(key);
    });
  }

  /** @returns whether a set has been sent */
  #next(key: string): boolean {
    const of = this.#keys.get(key);
    if (of === undefined) return false;
    const enough = of.underWay === 0 ? 1 : this.largest;
    if (of.underWay === this.depth || of.waiting.length < enough) {
      if (of.underWay === 0) this.#keys.delete(key);
      return false;
    }
    of.underWay += 1;
    void this.#settle(key, of.waiting.splice(0, this.largest), [of.waiting]).then((answer) => {
      of.underWay -= 1;
      // The database has the next set before the answers to this one are written.
      if (this.#next(key)) setImmediate(answer);
      else answer();
    });
    return true;
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
