import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
export const collectGarbage: () => void = runInNewContext('gc');

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

const TIMES = 2;

/**
 * By how many bytes more are in use after some work than before it. The least of two times, each with a number of its own: what else
 * the process does may leave something, too, but not every time.
 */
export async function leastGrowth(
  inUse: () => number | Promise<number>,
  work: (nth: number) => Promise<unknown>,
): Promise<number> {
  const grown: number[] = [];
  for (let nth = 1; nth <= TIMES; nth++) {
    const before = await inUse();
    await work(nth);
    grown.push((await inUse()) - before);
  }
  return Math.min(...grown);
}

/** By how many bytes some work makes the heap larger, garbage apart. */
export const heapGrowth = (work: (nth: number) => Promise<unknown>) => leastGrowth(heapUsed, work);
