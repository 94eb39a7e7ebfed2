import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../log';

/** A queue in the database: how what is due is claimed, and what is written when a call has ended. */
export type Queue<Item> = {
  /**
   * Leases up to `count` of what is due, so that nobody else calls before the longest call is over. It decides how many
   * calls one target gets at a time.
   */
  claim(count: number): Promise<readonly Item[]>;
  /** Calls the target, and throws when it did not take the item. The signal is aborted when the engine stops, maybe before. */
  call(item: Item, signal: AbortSignal): Promise<void>;
  delivered(item: Item): Promise<void>;
  failed(item: Item, error: unknown): Promise<void>;
};

export type EngineLimits = {
  /** Calls in flight. */
  readonly calls: number;
  /** How often the queue is asked without being woken: for what is due later, and for what others have left. */
  readonly pollMs: number;
  /** On a stop, how long calls in flight may go on, and how long it takes at most. */
  readonly finishMs: number;
  readonly stopMs: number;
};

/**
 * Delivers what is due in a queue, at least once. Everything that must not be lost is in the database: an item is leased
 * before its call, and a process that dies in between leaves a lease that runs out.
 */
export class DeliveryEngine<Item> {
  readonly #inFlight = new Map<Promise<void>, AbortController>();
  #stopped = false;
  #woken = false;
  #wakeUp: () => void = () => {};
  #loop: Promise<void> | undefined;
  #away = false;

  constructor(
    readonly name: string,
    readonly log: Log,
    readonly queue: Queue<Item>,
    readonly limits: EngineLimits,
  ) {}

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Something is due, or may be. */
  wake(): void {
    this.#woken = true;
    this.#wakeUp();
  }

  /** Claims nothing more, lets calls in flight finish for a while, then cuts them; their outcomes are written. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.wake();
    const deadline = sleep(this.limits.stopMs, undefined, { ref: false });
    const finish = async () => {
      await this.#loop;
      const ended = Promise.all(this.#inFlight.keys());
      await Promise.race([ended, sleep(this.limits.finishMs, undefined, { ref: false })]);
      for (const call of this.#inFlight.values()) call.abort();
      await ended;
    };
    await Promise.race([finish(), deadline]);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#woken = false;
      const free = this.limits.calls - this.#inFlight.size;
      if (free > 0) for (const item of await this.#claim(free)) this.#deliver(item);
      await this.#rest();
    }
  }

  async #claim(count: number): Promise<readonly Item[]> {
    try {
      const items = await this.queue.claim(count);
      this.#away = false;
      return items;
    } catch (error) {
      if (!this.#away) this.log.warn(`${this.name}: nothing can be claimed now`, { reason: reasonOf(error) });
      this.#away = true;
      return [];
    }
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#woken) return resolve();
      const timer = setTimeout(resolve, this.limits.pollMs);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #deliver(item: Item): void {
    const cut = new AbortController();
    // Claimed while the stop began: it is written that it was not called.
    if (this.#stopped) cut.abort();
    const ended = this.#attempt(item, cut.signal)
      // Neither outcome could be written: the lease runs out, and the item is delivered again.
      .catch((error: unknown) =>
        this.log.warn(`${this.name}: an outcome could not be written`, { reason: reasonOf(error) }),
      )
      .then(() => {
        this.#inFlight.delete(ended);
        this.wake();
      });
    this.#inFlight.set(ended, cut);
  }

  async #attempt(item: Item, signal: AbortSignal): Promise<void> {
    try {
      await this.queue.call(item, signal);
    } catch (error) {
      return this.queue.failed(item, error);
    }
    return this.queue.delivered(item);
  }
}

/** A problem says what callers are told; its cause says why. */
function reasonOf(error: unknown): string {
  const told = error instanceof Error ? (error.cause ?? error) : error;
  return told instanceof Error ? told.message : String(told);
}
