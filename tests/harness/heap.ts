import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** By how many bytes the heap is larger after some work than before it, garbage apart. */
export async function heapGrowth(work: () => Promise<unknown>): Promise<number> {
  const before = heapUsed();
  await work();
  return heapUsed() - before;
}
