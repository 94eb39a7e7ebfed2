import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { watchCode } from '../src/codes/watch';
import type { Context } from '../src/context';
import { Bell } from '../src/db/bell';
import { recordedLog } from './harness';

setFlagsFromString('--expose-gc');
const gc: () => void = runInNewContext('gc');

/** What is left of so many rounds of some work, in bytes of the heap, once everything that may go has gone. */
async function heapLeftBy(rounds: number, work: () => Promise<unknown>): Promise<number> {
  const heap = async () => {
    // A finalizer frees more, and only runs in a turn of its own.
    for (let i = 0; i < 3; i++) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return process.memoryUsage().heapUsed;
  };
  for (let i = 0; i < rounds / 10; i++) await work();
  const before = await heap();
  for (let i = 0; i < rounds; i++) await work();
  return (await heap()) - before;
}

test('100,000 polls of a code leave nothing in the signal, the listener and the caller they were given', async () => {
  const stopping = new AbortController();
  const bell = new Bell('', [], recordedLog().log);
  const code = { id: 'x', status: 'active', expiresInMs: 600_000 };
  const ctx = {
    bell,
    stopping: stopping.signal,
    db: { query: () => Promise.resolve([code]) },
  } as unknown as Context;
  const id = '019370a4-6a1c-7b52-8f3d-2a4b6c8d0e1f';

  const left = await heapLeftBy(100_000, async () => {
    const caller = new AbortController();
    await watchCode(ctx, id, 0, caller.signal);
  });
  expect(left).toBeLessThan(1_000_000);
}, 60_000);
