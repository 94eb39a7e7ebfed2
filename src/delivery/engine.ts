import { setTimeout as sleep } from 'node:timers/promises';
import type { Log, LogFields } from '../log';

/** A queue in the database. */
export type Queue<Item, Result = void> = {
  /**
   * Leases up to `count` due items for longer than a call can take, so that no other process delivers them meanwhile. Also
   * limits the number of concurrent calls to one target.
   */
  claim(count: number): Promise<readonly Item[]>;
  /**
   * Delivers an item; throws when the target did not accept it. The signal is aborted when the engine stops, possibly
   * before the call.
   */
  call(item: Item, signal: AbortSignal): Promise<Result>;
  /** Records a delivery. Many calls may end at the same time: this and `failed` bound the connections that they take. */
  delivered(item: Item, result: Result): Promise<void>;
  /** Records a failed attempt. */
  failed(item: Item, error: unknown): Promise<void>;
  /** Returns what identifies an item in the log. */
  logFields(item: Item): LogFields;
};

export type EngineLimits = {
  /** The maximum number of calls in flight. */
  readonly calls: number;
  /** The interval of polling, for items that become due later and for expired leases of other processes. */
  readonly pollMs: number;
  /** How long calls in flight may continue after a stop. */
  readonly finishMs: number;
  /** How long a stop takes at most. */
  readonly stopMs: number;
};

/**
 * Delivers the due items of a queue at least once. All state is in the database: an item is leased before its call, and the
 * lease of a process that dies expires.
 */
export class DeliveryEngine<Item, Result = void> {
  readonly #inFlight = new Map<Promise<void>, AbortController>();
  #stopped = false;
  #woken = false;
  #wakeUp: () => void = () => {};
  #loop: Promise<void> | undefined;
  #unavailable = false;

  constructor(
    readonly name: string,
    readonly log: Log,
    readonly queue: Queue<Item, Result>,
    readonly limits: EngineLimits,
  ) {}

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Claims items without waiting for the next poll. */
  wake(): void {
    this.#woken = true;
    this.#wakeUp();
  }

  /** Stops claiming, lets calls in flight finish for `finishMs`, then aborts them. Their outcomes are recorded. */
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
      await this.#idle();
    }
  }

  async #claim(count: number): Promise<readonly Item[]> {
    try {
      const items = await this.queue.claim(count);
      this.#unavailable = false;
      return items;
    } catch (error) {
      if (!this.#unavailable) this.log.warn(`${this.name}: nothing can be claimed now`, { reason: reasonOf(error) });
      this.#unavailable = true;
      return [];
    }
  }

  #idle(): Promise<void> {
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
    const controller = new AbortController();
    // Claimed while the engine was stopping: the item is recorded as not called.
    if (this.#stopped) controller.abort();
    const ended = this.#attempt(item, controller.signal)
      // The outcome could not be recorded: the lease expires, and the item is delivered again.
      .catch((error: unknown) =>
        this.log.warn(`${this.name}: an outcome could not be written`, {
          ...this.queue.logFields(item),
          reason: reasonOf(error),
        }),
      )
      .then(() => {
        this.#inFlight.delete(ended);
        this.wake();
      });
    this.#inFlight.set(ended, controller);
  }

  async #attempt(item: Item, signal: AbortSignal): Promise<void> {
    let result: Result;
    try {
      result = await this.queue.call(item, signal);
    } catch (error) {
      return this.queue.failed(item, error);
    }
    return this.queue.delivered(item, result);
  }
}

/** Returns the message of an error, or of its cause: the message of a problem is meant for callers of the API. */
function reasonOf(error: unknown): string {
  const source = error instanceof Error ? (error.cause ?? error) : error;
  return source instanceof Error ? source.message : String(source);
}
