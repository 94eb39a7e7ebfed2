import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setOutbound } from '../../src/cpos/cpos';
import { deriveKeys } from '../../src/crypto/keys';
import { arrivals } from './arrivals';
import { endLater } from './clean-up';
import { aStation, type Harness, SECRET_KEY, type TestCpo } from './harness';
import { close, listenOn } from './listen';

export type Received = { method: string; path: string; headers: IncomingMessage['headers']; body: string };
type Answer = (res: ServerResponse, request: Received) => void;

/** A CPO's backend that answers as a test says, and keeps what it was asked. */
export async function startCpo(service: Harness, answer: Answer) {
  const { received, add, count } = arrivals<Received>();
  const server = createServer(async (req, res) => {
    let body = '';
    for await (const chunk of req) body += chunk;
    const request = { method: req.method ?? '', path: req.url ?? '', headers: req.headers, body };
    add(request);
    backend.answer(res, request);
  });
  const port = await listenOn(server);
  const token = `outbound-${randomUUID()}`;
  service.secrets.add(token);
  const cpo: TestCpo = await service.cpo();
  const url = `http://127.0.0.1:${port}`;
  const operator = { ...service.operator, keys: deriveKeys(SECRET_KEY) };
  await setOutbound(operator, cpo.id, { baseUrl: url, outboundToken: token });

  const backend = {
    ...cpo,
    answer,
    received,
    /** The requests that redeem a code. An unpair may come at any time after the answer of one. */
    redemptions: () => received.filter(({ path }) => path.endsWith('/pair')),
    outboundToken: token,
    url,
    /** Resolves when so many requests have come. */
    asked: count,
    down: () => close(server),
    up: () => listenOn(server, port),
  };
  endLater(() => backend.down());
  return backend;
}

export const sendJson = (res: ServerResponse, status: number, body: unknown) => {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(body));
};

/** Answers a station under a uid of its own, or the given one. */
export const answerStation =
  (uid?: string): Answer =>
  (res) =>
    sendJson(res, 200, { charging_station: aStation(uid) });
