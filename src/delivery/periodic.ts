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
  readonly log: Log;
  /** No run starts after it is aborted. */
  readonly stopping: AbortSignal;
};

/**
 * Runs a job periodically until stopped, one run at a time. Consecutive failures are logged once; the next run makes up for a
 * failed one.
 */
export function startPeriodic({ name, everyMs, log, stopping }: Settings, work: () => Promise<void>): PeriodicJob {
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
    timer = setTimeout(start, woken ? 0 : everyMs).unref();
  };
  schedule();
  return {
    wake() {
      woken = true;
      if (running === undefined) start();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}
