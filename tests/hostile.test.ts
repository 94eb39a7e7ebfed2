import { randomUUID } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { aStation, type Harness, startHarness, type TestCpo } from './harness';
import { openRaw, type RawAnswer, sayRaw } from './raw-http';

const NO_LIMITS = { LIMIT_CPO_UID_10MIN: '100000', LIMIT_CPO_10MIN: '100000', LIMIT_CPO_24H: '100000' };
/** As in production, only sooner. */
const SOON = { headersTimeout: 500, requestTimeout: 1_000, connectionsCheckingInterval: 50, maxConnections: 400 };

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS, { http: SOON, load: { requests: 200, longPolls: 10 } });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const PATH = '/v1/scsp/ocpp2.0.1/pair';
const open = () => openRaw(service.url);
const say = (text: string) => sayRaw(service.url, text);
const times = <T>(n: number, make: (i: number) => T) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const head = (line: string, ...headers: string[]) => [line, 'Host: x', ...headers, '', ''].join('\r\n');
const bearer = (token: string) => `Authorization: Bearer ${token}`;
const pairBody = (code: string) => JSON.stringify({ code, charging_station: aStation() });
const pairRequest = (code: string, version = 'HTTP/1.1', ...headers: string[]) => {
  const body = pairBody(code);
  return (
    head(
      `POST ${PATH} ${version}`,
      bearer(cpo.token),
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      ...headers,
    ) + body
  );
};
const poll = (id: string) => head(`GET /v1/app/pairing-codes/${id}?wait=30 HTTP/1.1`, bearer(service.appToken));
/** An authorised request that is being served, and stays so until it is given a body. */
async function inFlight() {
  const raw = await open();
  raw.socket.write(
    head(
      `POST ${PATH} HTTP/1.1`,
      bearer(cpo.token),
      'Content-Type: application/json',
      'Content-Length: 2',
      'Expect: 100-continue',
    ),
  );
  while (!raw.received().includes('100 Continue')) await new Promise((resolve) => raw.socket.once('data', resolve));
  return raw;
}
/** A long poll that waits: the request before it on the same connection has been answered. */
async function waitingPoll(id: string) {
  const raw = await open();
  raw.socket.write(head('GET /live HTTP/1.1') + poll(id));
  await raw.answers(1);
  return raw;
}
const inOneShape = (answer: RawAnswer | undefined, status: number, type: string) => {
  expect(answer).toMatchObject({ status, body: { status, type: `/problems/${type}`, message: expect.any(String) } });
  expect(answer?.body.request_id).toBe(answer?.headers['x-request-id']);
};
const pairs = async () => expect((await service.pair(cpo, (await service.code()).code)).status).toBe(200);

describe('more than can be answered', () => {
  test('is refused at once in the one shape and logged, while probes are answered', async () => {
    const busy = await times(200, inFlight);
    const refused = await service.request('GET', '/v1/scsp/me', {
      token: cpo.token,
      headers: { 'X-Request-ID': 'one-too-many' },
    });
    expect([refused.status, refused.body.type]).toEqual([503, '/problems/unavailable']);
    expect(refused.headers.get('Retry-After')).toMatch(/^\d+$/);
    const line = await service.log.waitFor(({ request_id }) => request_id === 'one-too-many');
    expect(line).toMatchObject({ message: 'request', status: 503, problem: 'unavailable' });
    for (const path of ['/live', '/ready']) expect((await service.request('GET', path)).status).toBe(200);

    busy[0]?.socket.write('{}');
    expect((await busy[0]?.answers(1))?.[0]?.status).toBe(400);
    expect((await service.request('GET', '/v1/scsp/me', { token: cpo.token })).status).toBe(200);
    for (const { socket } of busy) socket.write('{}');
    for (const raw of busy) expect((await raw.answers(1))[0]?.status).toBe(400);
    for (const { socket } of busy) socket.destroy();
    await pairs();
  });

  test('counts long polls apart, and no longer once their connection is gone, pipelined or not', async () => {
    const { id } = await service.code();
    const before = service.log.lines.length;
    const gone = () =>
      service.log.lines.slice(before).filter(({ operation, status }) => operation === 'followCode' && status === 499);
    for (let round = 1; round <= 2; round++) {
      const raw = await open();
      raw.socket.write(head('GET /live HTTP/1.1') + poll(id).repeat(10));
      await raw.answers(1);
      const refused = await service.request('GET', `/v1/app/pairing-codes/${id}?wait=1`, { token: service.appToken });
      expect([refused.status, refused.body.type]).toEqual([503, '/problems/unavailable']);
      expect((await service.followCode(id, 0)).status).toBe(200);
      raw.socket.destroy();
      await service.log.waitFor(() => gone().length === round * 10);
    }
    await pairs();
  });

  test('connections beyond the bound are closed at once, and those within it are served', async () => {
    const raws = await times(450, open);
    await Promise.race(raws.map((raw) => raw.closed()));
    const kept = raws.find(({ socket }) => !socket.closed && !socket.readableEnded);
    kept?.socket.write(head('GET /live HTTP/1.1'));
    expect((await kept?.answers(1))?.[0]?.status).toBe(200);
    for (const { socket } of raws) socket.destroy();
    await Promise.all(raws.map((raw) => raw.closed()));
    await pairs();
  });
});

describe('slow senders', () => {
  test('a hundred that never end their headers are told so and cut off, and others are served meanwhile', async () => {
    const slow = await times(100, open);
    const dripping = setInterval(() => {
      for (const { socket } of slow) if (socket.writable) socket.write('X: y\r\n');
    }, 50);
    for (const { socket } of slow) socket.write('GET /live HTTP/1.1\r\nHost: x\r\n');
    const began = performance.now();
    await pairs();
    expect(performance.now() - began).toBeLessThan(400);
    for (const raw of slow) inOneShape((await raw.closed())[0], 408, 'request-timeout');
    clearInterval(dripping);
  });

  test('a body that drips is told so and cut off', async () => {
    const raw = await open();
    raw.socket.write(
      head(`POST ${PATH} HTTP/1.1`, bearer(cpo.token), 'Content-Type: application/json', 'Content-Length: 1000'),
    );
    const dripping = setInterval(() => raw.socket.writable && raw.socket.write(' '), 50);
    const answers = await raw.closed();
    clearInterval(dripping);
    expect(answers).toHaveLength(1);
    inOneShape(answers[0], 408, 'request-timeout');
  });

  test('a connection that says nothing is closed', async () => {
    const raw = await open();
    await raw.closed();
  });
});
