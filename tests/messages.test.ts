import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { messagesOf } from '../src/http/messages';

test('Express gets requests and responses of its own, and changes the prototype of none', async () => {
  const app = express().use((req, res) => void res.json({ ip: req.ip, same: req.res === res }));
  const prototypes = (req: IncomingMessage, res: ServerResponse) => [req, res].map(Object.getPrototypeOf);
  let unchanged = false;
  const server = createServer(messagesOf(app), (req, res) => {
    const before = prototypes(req, res);
    app(req, res);
    unchanged = prototypes(req, res).every((prototype, i) => prototype === before[i]);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  server.close();
  expect([await answer.json(), unchanged]).toEqual([{ ip: '127.0.0.1', same: true }, true]);
});
