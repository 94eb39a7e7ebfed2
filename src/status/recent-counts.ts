import type { Registry } from 'prom-client';

const WINDOW_MS = 300_000;

type Counts = Readonly<Record<string, number>>;

/** Returns by how much a counter of this process has grown within the last 5 minutes, for each value of a label. */
export class RecentCounts {
  readonly #readings: { readonly at: number; readonly totals: Counts }[] = [];

  constructor(
    readonly registry: Registry,
    readonly metric: string,
    readonly label?: string,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Returns the counts that are not 0; those of a counter without the label under the key ''. Empty without such a counter. */
  async read(): Promise<Counts> {
    const totals = await this.#totals();
    const at = this.now();
    this.#readings.push({ at, totals });
    while (at - (this.#readings[1]?.at ?? at) >= WINDOW_MS) this.#readings.shift();
    // Before its first reading a process has counted nothing.
    const first = this.#readings[0];
    const since = first !== undefined && at - first.at >= WINDOW_MS ? first.totals : {};
    const grown = Object.entries(totals).map(([name, total]) => [name, total - (since[name] ?? 0)] as const);
    return Object.fromEntries(grown.filter(([, count]) => count > 0));
  }

  async #totals(): Promise<Counts> {
    const found = await this.registry.getSingleMetric(this.metric)?.get();
    return Object.fromEntries(
      (found?.values ?? []).map(({ labels, value }) => [
        this.label === undefined ? '' : String(labels[this.label]),
        value,
      ]),
    );
  }
}
