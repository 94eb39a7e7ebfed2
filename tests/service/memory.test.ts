import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Request, Response } from 'express';
import { watchCode } from '../../src/codes/watch';
import { Listener } from '../../src/db/listener';
import type { Database } from '../../src/db/pool';
import { readBody } from '../../src/http/body';
import { waitSignal } from '../../src/http/client-disconnect';
import { createLoadShedding, LOAD_LIMITS } from '../../src/http/load-shedding';
import { longPolls } from '../../src/http/long-polls';
import { TokenRegistry } from '../../src/tokens/registry';
import { recordedLog } from '../harness/harness';

setFlagsFromString('--expose-gc');
const gc: () => void = runInNewContext('gc');

/** The bytes that are in use once everything that may go has gone. */
async function inUse(): Promise<number> {
  // A finalizer frees more, and only runs in a turn of its own.
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** What so many rounds of some work leave in use, in bytes. */
async function leftBy(rounds: number, work: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < rounds / 10; i++) await work();
  const before = await inUse();
  for (let i = 0; i < rounds; i++) await work();
  return (await inUse()) - before;
}

test('100,000 polls of a code leave nothing behind', async () => {
  const stopping = new AbortController();
  const { log } = recordedLog();
  const listener = new Listener('', [], log);
  const code = { id: 'x', status: 'active', expiresInMs: 600_000 };
  const db = { query: () => Promise.resolve([code]) } as unknown as Database;
  const registry = new TokenRegistry({ db, listener, log });
  const load = createLoadShedding({ ...LOAD_LIMITS, requestsPerCaller: 256 });
  const step = longPolls(registry, stopping.signal, load.longPolls);
  const caller = { tokenId: 'x', hash: 'x', role: 'app', cpo: null, app: 'x', expiresAt: new Date() };
  const req = { query: { wait: 30 }, socket: {} } as unknown as Request;
  const id = '019370a4-6a1c-7b52-8f3d-2a4b6c8d0e1f';

  const left = await leftBy(100_000, async () => {
    const res = Object.assign(new EventEmitter(), { req, locals: { caller } }) as unknown as Response;
    await new Promise<void>((resolve) => step(req, res, () => resolve()));
    await watchCode({ listener, db }, id, 0, waitSignal(res));
    res.emit('close');
  });
  expect(left).toBeLessThan(1_000_000);
}, 120_000);

test('a body in pieces of a byte takes little more memory than its bytes', async () => {
  const [bodies, size] = [10, 60_000];
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  const requests = Array.from({ length: bodies }, () =>
    Object.assign(new PassThrough(), {
      openapi: { schema: { requestBody: { content: {} } } },
      headers: { ...headers },
      get: (name: string) => headers[name.toLowerCase()],
    }),
  );
  for (const req of requests) void readBody(req as unknown as Request, { locals: {} } as Response, () => undefined);
  const before = await inUse();
  for (const req of requests) for (let i = 0; i < size; i++) req.write(Buffer.alloc(1, ' '));
  await new Promise((resolve) => setImmediate(resolve));
  expect((await inUse()) - before).toBeLessThan(4 * bodies * size);
  for (const req of requests) req.end('{}');
}, 60_000);
