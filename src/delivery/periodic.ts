import type { Log } from '../log';

export type PeriodicJob = {
  /** Runs the job without waiting for its next time. */
  wake(): void;
  /** Waits for a run in progress. */
  stop(): Promise<void>;
};

type Settings = {
  readonly name: string;
  readonly everyMs: number;
  /** After a failed run; `everyMs` unless given. */
  readonly retryMs?: number;
  /** Subscribes the job to what wakes it. Returns the functions that unsubscribe. */
  readonly wakeOn?: (wake: () => void) => readonly (() => void)[];
  readonly log: Log;
  /** No run starts after it is aborted. */
  readonly stopping: AbortSignal;
};

/**
 * Runs a job periodically until stopped, one run at a time. Consecutive failures are logged once; the next run makes up for a
 * failed one.
 */
export function startPeriodic(settings: Settings, work: () => Promise<void>): PeriodicJob {
  const { name, everyMs, retryMs = everyMs, wakeOn = () => [], log, stopping } = settings;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;
  let woken = false;
  let failing = false;
  const run = async () => {
    try {
      await work();
      failing = false;
    } catch (error) {
      if (!failing) log.warn(`${name} failed, retrying`, { reason: String(error) });
      failing = true;
    }
  };
  const start = () => {
    clearTimeout(timer);
    if (stopped || stopping.aborted) return;
    woken = false;
    running = run().then(() => {
      running = undefined;
      schedule();
    });
  };
  const schedule = () => {
    if (stopped || stopping.aborted) return;
    timer = setTimeout(start, woken ? 0 : failing ? retryMs : everyMs).unref();
  };
  const wake = () => {
    woken = true;
    if (running === undefined) start();
  };
  const unsubscribe = wakeOn(wake);
  schedule();
  return {
    wake,
    async stop() {
      for (const one of unsubscribe) one();
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}
