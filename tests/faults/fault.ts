import { setTimeout as sleep } from 'node:timers/promises';

/** The short form, for CI: fewer crashes, the same kinds. */
export const SHORT = process.env.FAULTS === 'short';

/** Seconds that something took, and what came of it. */
export async function timed<T>(work: () => Promise<T>): Promise<{ seconds: number; result: T }> {
  const began = performance.now();
  const result = await work();
  return { seconds: (performance.now() - began) / 1000, result };
}

/** Asks again until the answer is so; how long it took. A deadline ends it. */
export async function secondsUntil(holds: () => Promise<boolean>, deadlineSeconds = 30): Promise<number> {
  const began = performance.now();
  for (;;) {
    const done = await holds().catch(() => false);
    // What is asked may be known without waiting; others must get their turn, and the CPU.
    await sleep(5);
    const seconds = (performance.now() - began) / 1000;
    if (done) return seconds;
    if (seconds > deadlineSeconds) throw new Error(`not within ${deadlineSeconds} s`);
  }
}
