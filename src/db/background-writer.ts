import { Counts } from '../delivery/counts';
import { Problem } from '../problems';
import { Batcher, requestDeadlines } from './batcher';

/** A bound on the memory used while the database is slow. */
const MAX_PENDING = 1_000;
const MAX_BATCH_SIZE = 100;

export type BackgroundWriterOptions<Row> = {
  /** Stores a batch in one statement. */
  readonly store: (batch: readonly Row[]) => Promise<unknown>;
  /** Is told of each row that is not stored. */
  readonly onLost: (row: Row, reason: string) => void;
  /** How long each batch waits for rows, in ms, which makes batches larger. Undefined: a lone row is stored at once. */
  readonly gatherMs?: number;
  /** How many rows of one key may wait. Undefined: only all together are limited. */
  readonly maxPendingPerKey?: number;
};

/** Stores rows in batches, each key in turn. Nothing waits for it, and a row that cannot be stored is given up. */
export class BackgroundWriter<Row> {
  readonly #batcher: Batcher<Row, undefined>;
  readonly #pending = new Counts();
  readonly #storing = new Set<Promise<void>>();

  constructor(readonly options: BackgroundWriterOptions<Row>) {
    const { store, gatherMs } = options;
    this.#batcher = new Batcher({
      async work(batch) {
        await store(batch);
        return batch.map(() => undefined);
      },
      maxBatchSize: MAX_BATCH_SIZE,
      ...(gatherMs !== undefined && { gatherMs }),
      failsAll: (error) => error instanceof Problem,
    });
  }

  add(key: string, row: Row): void {
    const { onLost, maxPendingPerKey = MAX_PENDING } = this.options;
    if (this.#storing.size >= MAX_PENDING || this.#pending.of(key) >= maxPendingPerKey)
      return onLost(row, 'too many at once');
    const storing = this.#pending
      .during(key, () => this.#batcher.add(key, row, requestDeadlines()))
      .catch((error: unknown) => onLost(row, String(error)))
      .finally(() => this.#storing.delete(storing));
    this.#storing.add(storing);
  }

  /** Resolves once no row waits. */
  async stop(): Promise<void> {
    await Promise.all(this.#storing);
  }
}
