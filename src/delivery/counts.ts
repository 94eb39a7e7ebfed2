/** Counts by key. */
export class Counts {
  readonly #counts = new Map<unknown, number>();

  of(key: unknown): number {
    return this.#counts.get(key) ?? 0;
  }

  add(key: unknown, difference: 1 | -1): void {
    const count = this.of(key) + difference;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }

  /** Runs work that is counted while it is in progress. */
  async during<T>(key: unknown, work: () => Promise<T>): Promise<T> {
    this.add(key, 1);
    try {
      return await work();
    } finally {
      this.add(key, -1);
    }
  }
}
