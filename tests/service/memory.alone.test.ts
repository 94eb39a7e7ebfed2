import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import type { Request, Response } from 'express';
import { watchCode } from '../../src/codes/watch';
import { Listener } from '../../src/db/listener';
import type { Database } from '../../src/db/pool';
import { readBody } from '../../src/http/body';
import { waitSignal } from '../../src/http/client-disconnect';
import { createLoadShedding, LOAD_LIMITS } from '../../src/http/load-shedding';
import { longPolls } from '../../src/http/long-polls';
import { createMetrics } from '../../src/metrics/metrics';
import { TokenRegistry } from '../../src/tokens/registry';
import { recordedLog } from '../harness/harness';
import { collectGarbage, leastGrowth } from '../harness/heap';

/** The bytes that are in use once everything that may go has gone. */
async function inUse(): Promise<number> {
  // A finalizer frees more, and only runs in a turn of its own.
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** What so many rounds of some work leave in use, in bytes. */
async function leftBy(rounds: number, work: () => Promise<unknown>): Promise<number> {
  const repeat = async (times: number) => {
    for (let i = 0; i < times; i++) await work();
  };
  await repeat(rounds / 10);
  return leastGrowth(inUse, () => repeat(rounds));
}

test('50,000 polls of a code leave nothing behind', async () => {
  const stopping = new AbortController();
  const { log } = recordedLog();
  const listener = new Listener('', [], log);
  const code = { id: 'x', status: 'active', expiresInMs: 600_000 };
  const db = { query: () => Promise.resolve([code]) } as unknown as Database;
  const registry = new TokenRegistry({ db, listener, log });
  const load = createLoadShedding({ ...LOAD_LIMITS, requestsPerCaller: 256 }, createMetrics(log));
  const step = longPolls(registry, stopping.signal, load.longPolls);
  const caller = { tokenId: 'x', hash: 'x', role: 'app', cpo: null, app: 'x', expiresAt: new Date() };
  const req = { query: { wait: 30 }, socket: {} } as unknown as Request;
  const id = '019370a4-6a1c-7b52-8f3d-2a4b6c8d0e1f';

  const left = await leftBy(50_000, async () => {
    const res = Object.assign(new EventEmitter(), { req, locals: { caller } }) as unknown as Response;
    await new Promise<void>((resolve) => step(req, res, () => resolve()));
    await watchCode({ listener, db }, id, 0, waitSignal(res));
    res.emit('close');
  });
  expect(left).toBeLessThan(1_000_000);
});

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
});
