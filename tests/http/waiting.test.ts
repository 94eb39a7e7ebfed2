import { on, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { waitSignal } from '../../src/http/client-disconnect';
import { handleClientErrors, trackResponses } from '../../src/http/connections';
import { openRaw } from '../harness/raw-http';

/** A request that has come, its answer that has not gone, and the caller's end of the connection. */
async function aRequest(
  refuse: Parameters<typeof handleClientErrors>[1] = (_problem, socket) => void socket.destroy(),
) {
  const server = createServer(trackResponses(() => undefined, new AbortController().signal)).listen(0, '127.0.0.1');
  handleClientErrors(server, refuse);
  await once(server, 'listening');
  const caller = await openRaw(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  caller.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const [req, res] = (await once(server, 'request')) as [IncomingMessage, ServerResponse];
  const end = () => {
    caller.socket.destroy();
    server.close();
    server.closeAllConnections();
  };
  return { req, res, caller, server, end };
}

const disconnections: [string, (request: Awaited<ReturnType<typeof aRequest>>) => Promise<unknown>][] = [
  [
    'has closed its half of the connection',
    ({ req, caller }) => {
      caller.socket.end();
      return once(req.socket, 'end');
    },
  ],
  [
    'has closed its connection',
    ({ res, caller }) => {
      caller.socket.resetAndDestroy();
      return once(res, 'close');
    },
  ],
];

test.each(disconnections)('a wait ends when the client %s, before or after it began', async (_how, leave) => {
  const request = await aRequest();
  try {
    const asked = waitSignal(request.res);
    expect(asked.aborted).toBe(false);
    await leave(request);
    expect(asked.aborted).toBe(true);
    expect(waitSignal(request.res)).toBe(asked);
  } finally {
    request.end();
  }

  const another = await aRequest();
  try {
    await leave(another);
    expect(waitSignal(another.res).aborted).toBe(true);
  } finally {
    another.end();
  }
});

test('who has been answered has not left, and is not waited for', async () => {
  const { res, end } = await aRequest();
  try {
    const asked = waitSignal(res);
    res.end();
    await once(res, 'close');
    expect(asked.aborted).toBe(false);
    expect(waitSignal(res).aborted).toBe(true);
  } finally {
    end();
  }
});

test('each response of a pipeline is closed exactly once when its connection ends', async () => {
  const { req, res, caller, server, end } = await aRequest();
  try {
    const closes = new Map([[res, 0]]);
    const following = on(server, 'request');
    caller.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
    for (let i = 0; i < 2; i++) closes.set((await following.next()).value[1], 0);
    for (const response of closes.keys())
      response.on('close', () => closes.set(response, (closes.get(response) ?? 0) + 1));
    caller.socket.resetAndDestroy();
    await new Promise((resolve) => req.socket.once('close', resolve));
    await setImmediate();
    expect([...closes.values()]).toEqual([1, 1, 1]);
  } finally {
    end();
  }
});

// Node's parser reports its error again for all further data of a connection.
test('what the parser rejects is refused once, however much of it comes', async () => {
  const refuse = jest.fn();
  const { req, res, server, end } = await aRequest(refuse);
  try {
    res.end();
    await once(res, 'close');
    for (let i = 0; i < 3; i++) server.emit('clientError', new Error('Parse Error'), req.socket);
    expect(refuse).toHaveBeenCalledTimes(1);
  } finally {
    end();
  }
});

test('behind a response that is still to be sent, what the parser rejects is not refused, and adds one listener', async () => {
  const refuse = jest.fn();
  const { req, res, server, end } = await aRequest(refuse);
  try {
    const before = res.listenerCount('close');
    for (let i = 0; i < 100; i++) server.emit('clientError', new Error('Parse Error'), req.socket);
    expect([res.listenerCount('close'), refuse.mock.calls]).toEqual([before + 1, []]);
    const ended = once(req.socket, 'finish');
    res.end();
    await ended;
  } finally {
    end();
  }
});
