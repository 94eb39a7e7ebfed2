import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { close, listen } from '../../src/http/server';
import { endLater } from '../harness/clean-up';
import { startHarness } from '../harness/harness';
import { openRaw } from '../harness/raw-http';

const REQUEST = 'GET /live HTTP/1.1\r\nHost: x\r\n\r\n';

/** Keeps this process from everything else until a condition holds, at most for ten seconds. */
function block(until: () => boolean): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (let waits = 0; !until() && waits < 1_000; waits++) Atomics.wait(cell, 0, 0, 10);
}

test('a request that does not end is cut off once the grace time is over', async () => {
  const server = createServer(() => undefined);
  const port = await listen(server, 0, '127.0.0.1', 'PORT');
  const raw = await openRaw(`http://127.0.0.1:${port}`);
  raw.socket.write(REQUEST);
  await once(server, 'request');
  await close(server, 1);
  expect(await raw.closed()).toEqual([]);
});

test('when the service stops, the last response of each connection says that the connection is closed', async () => {
  const service = await startHarness();
  const { id } = await service.code();
  const poll = `GET /v1/app/pairing-codes/${id}?wait=30 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.appToken}\r\n\r\n`;
  const raw = await openRaw(service.url);
  // Written at once: when the first is answered, the service has read the others.
  raw.socket.write(REQUEST + poll + poll);
  await raw.answers(1);
  const late = await openRaw(service.url);
  late.socket.write(REQUEST.slice(0, 20));
  const stopped = service.stop();
  await raw.answers(3);
  late.socket.write(REQUEST.slice(20));
  await stopped;
  const connections = async ({ closed }: typeof raw) => (await closed()).map(({ headers }) => headers.connection);
  expect(await connections(raw)).toEqual(['keep-alive', 'keep-alive', 'close']);
  expect(await connections(late)).toEqual(['close']);
});

describe('a request that has arrived, but is not read before the service stops, is answered', () => {
  test('on a connection that was idle', async () => {
    const service = await startHarness();
    const raw = await openRaw(service.url);
    raw.socket.write(REQUEST);
    await raw.answers(1);
    raw.socket.write(REQUEST);
    await service.stop();
    expect((await raw.closed()).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('on connections that were not accepted yet', async () => {
    const service = await startHarness();
    const folder = mkdtempSync(join(tmpdir(), 'scsp-server-'));
    endLater(() => rmSync(folder, { recursive: true }));
    const sent = join(folder, 'sent');
    const sends = `
      let left = 20;
      for (let client = 0; client < 20; client++) {
        const socket = require('node:net').connect(${new URL(service.url).port}, '127.0.0.1');
        socket.write(${JSON.stringify(REQUEST)}, () => --left || require('node:fs').writeFileSync(${JSON.stringify(sent)}, ''));
        socket.on('data', (data) => console.log(String(data))).on('error', (error) => console.log(error.code));
      }`;
    const clients = spawn(process.execPath, ['-e', sends], { stdio: ['ignore', 'pipe', 'inherit'] });
    const received = text(clients.stdout);
    block(() => existsSync(sent));
    await service.stop();
    expect((await received).match(/200 OK|ECONN\w+/g)).toEqual(Array(20).fill('200 OK'));
  });

  test('on a connection that becomes idle meanwhile', async () => {
    const responses: ServerResponse[] = [];
    const server = createServer((_req, res) => {
      if (responses.push(res) > 1) res.end();
    });
    const port = await listen(server, 0, '127.0.0.1', 'PORT');
    const raw = await openRaw(`http://127.0.0.1:${port}`);
    raw.socket.write(REQUEST);
    await once(server, 'request');
    const closed = close(server);
    responses[0]!.end();
    await once(raw.socket, 'data');
    raw.socket.write(REQUEST);
    // So long that the next turn of the event loop begins with closing idle connections.
    const until = performance.now() + 100;
    block(() => performance.now() > until);
    await closed;
    expect(await raw.closed()).toHaveLength(2);
  });
});
