import { once } from 'node:events';
import { createServer } from 'node:http';
import { close, listen } from '../../src/http/server';
import { openRaw } from '../harness/raw-http';

test('a request that does not end is cut off once the grace time is over', async () => {
  const server = createServer(() => undefined);
  const port = await listen(server, 0, '127.0.0.1', 'PORT');
  const raw = await openRaw(`http://127.0.0.1:${port}`);
  raw.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(server, 'request');
  await close(server, 1);
  expect(await raw.closed()).toEqual([]);
});
