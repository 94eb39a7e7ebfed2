import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { issueToken, rotateToken } from '../../src/tokens/tokens';
import { answerStation, startCpo } from '../harness/a-cpo';
import { type Answer, aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { openRaw } from '../harness/raw-http';
import { untilStatus } from '../harness/until';

/** As in production, only less. */
const FEW = { bodies: 8, bodiesPerCaller: 5, requests: 8, longPolls: 6, longPollsPerCaller: 4, pages: 8 };
const LIMIT_IN_FLIGHT = 5;
const FEW_CONNECTIONS = 50;

let service: Harness;
let small: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  // Slow bodies are not to end before the test does.
  service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS }, { http: { requestTimeout: 300_000 } });
  cpo = await service.cpo();
  small = await startHarness(
    { ...NO_LIMITS, LIMIT_IN_FLIGHT: String(LIMIT_IN_FLIGHT), SANDBOX: 'true' },
    {
      databaseUrl: service.databaseUrl,
      load: FEW,
      http: { maxConnections: FEW_CONNECTIONS },
    },
  );
  // The validator compiles an operation at its first request, which takes a while.
  for (const at of [service, small]) {
    await pairs(at);
    for (const ask of [() => me(cpo.token, at), () => asApp(at.appToken, at), () => at.request('GET', '/docs')])
      await served(ask);
  }
});
afterAll(async () => {
  await small.stop();
  await service.stop();
});

const opened: Awaited<ReturnType<typeof openRaw>>[] = [];
afterEach(async () => {
  const raws = opened.splice(0);
  for (const { socket } of raws) socket.destroy();
  await Promise.all(raws.map((raw) => raw.closed()));
});
const open = async (at = small) => {
  const raw = await openRaw(at.url);
  opened.push(raw);
  return raw;
};

const times = <T>(n: number, make: (i: number) => T) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const head = (line: string, ...headers: string[]) => [line, 'Host: x', ...headers, '', ''].join('\r\n');
const bearer = (token: string) => `Authorization: Bearer ${token}`;
const pairHead = (token: string, ...headers: string[]) =>
  head('POST /v1/scsp/ocpp2.0.1/pair HTTP/1.1', bearer(token), 'Content-Type: application/json', ...headers);
const me = (token = cpo.token, at = small) => at.request('GET', '/v1/scsp/me', { token });
const asApp = (token: string, at = small) => at.request('GET', '/v1/app/cpos', { token });
const pairs = async (at: Harness) => expect((await at.pair(cpo, (await at.code()).code)).status).toBe(200);
const served = async (ask: () => Promise<Answer>) => expect((await untilStatus(200, ask)).status).toBe(200);
const refused = (answer: Answer, status: 429 | 503) => {
  const type = status === 429 ? 'too-many-requests' : 'unavailable';
  expect([answer.status, answer.body.type]).toEqual([status, `/problems/${type}`]);
  expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/);
};
/** An app of its own, known to the service. */
const anApp = async (appName: string) => {
  const { id, token } = await issueToken(small.operator, { role: 'app', appName });
  small.secrets.add(token);
  await served(() => asApp(token));
  return { id, token };
};

describe('bodies that have not arrived', () => {
  /** A request whose body is awaited. */
  const awaited = async (token: string, at = small) => {
    const raw = await open(at);
    raw.socket.write(pairHead(token, 'Content-Length: 2', 'Expect: 100-continue'));
    while (!raw.received().includes('100 Continue')) await once(raw.socket, 'data');
    return raw;
  };

  test('are bounded for a caller and in all, and count no longer once they have come or their connection is gone', async () => {
    const other = await service.cpo();
    for (const { token } of [cpo, other]) await served(() => me(token));
    const own = await times(FEW.bodiesPerCaller, () => awaited(cpo.token));
    refused(await small.pair(cpo, '1'), 429);
    await pairs({ ...small, pair: (_cpo: TestCpo, code: string) => small.pair(other, code) });

    const others = await times(FEW.bodies - FEW.bodiesPerCaller, () => awaited(other.token));
    refused(await small.pair(other, '1'), 503);
    expect((await me(other.token)).status).toBe(200);

    for (const raw of own) raw.socket.write('{}');
    for (const raw of own) expect((await raw.answers(1))[0]?.status).toBe(400);
    await pairs(small);
    const before = small.log.lines.length;
    for (const { socket } of others) socket.destroy();
    await small.log.waitFor(
      () => small.log.lines.slice(before).filter(({ status }) => status === 499).length === others.length,
    );
    await times(FEW.bodiesPerCaller, () => awaited(other.token));
  });
});

describe('requests that are worked on', () => {
  const held: ServerResponse[] = [];
  let slow: Awaited<ReturnType<typeof startCpo>>;
  beforeAll(async () => {
    slow = await startCpo(small, answerStation());
    expect((await small.redeem(slow, '1')).status).toBe(201);
    slow.answer = (res) => void held.push(res);
  });
  afterAll(() => slow.down());
  const release = () => {
    for (const res of held.splice(0)) answerStation()(res, slow.received[0] as (typeof slow.received)[number]);
  };
  /** So many redemptions that are being worked on until their CPO answers. */
  const redemptions = async (token: string, count: number) => {
    const before = slow.received.length;
    const answers = Array.from({ length: count }, (_, i) =>
      small.request('POST', '/v1/app/pairings', {
        token,
        body: {
          user_id: `user ${before + i}`,
          charging_location_id: 'home',
          cpo_id: slow.id,
          payload_protocol: 'ocpp2.0.1',
          code: '1',
        },
      }),
    );
    await slow.asked(before + count);
    return answers;
  };

  test('beyond its share an app gets 429, whichever of its tokens it sends, and others are served', async () => {
    const [app, other] = [await anApp('greedy'), await anApp('modest')];
    const rotated = await rotateToken(small.operator, app.id, 1);
    small.secrets.add(rotated.token);
    await served(() => asApp(rotated.token));
    await served(() => me());
    const answers = await redemptions(app.token, LIMIT_IN_FLIGHT);
    refused(await asApp(app.token), 429);
    refused(await asApp(rotated.token), 429);
    // What cannot be read is refused for that; what can be read, before it is validated.
    const post = (raw: string) => small.request('POST', '/v1/app/pairing-codes', { token: app.token, raw });
    expect([(await post('{')).status, (await post('{}')).status]).toEqual([400, 429]);
    expect((await asApp(other.token)).status).toBe(200);
    expect((await me()).status).toBe(200);
    release();
    for (const answer of answers) expect((await answer).status).toBe(201);
    expect((await asApp(app.token)).status).toBe(200);
  });

  test('beyond what a process takes all get 503 in the one shape and are logged, while probes are answered', async () => {
    const [app, other] = [await anApp('first half'), await anApp('second half')];
    await served(() => me());
    const answers = [
      ...(await redemptions(app.token, LIMIT_IN_FLIGHT)),
      ...(await redemptions(other.token, FEW.requests - LIMIT_IN_FLIGHT)),
    ];
    refused(await me(), 503);
    refused(
      await small.request('GET', '/v1/scsp/me', { token: cpo.token, headers: { 'X-Request-ID': 'one-too-many' } }),
      503,
    );
    const line = await small.log.waitFor(({ request_id }) => request_id === 'one-too-many');
    expect(line).toMatchObject({ message: 'request', status: 503, problem: 'unavailable' });
    for (const path of ['/live', '/ready', '/docs']) expect((await small.request('GET', path)).status).toBe(200);
    release();
    for (const answer of answers) expect((await answer).status).toBe(201);
    await pairs(small);
  });
});

describe('long polls', () => {
  const poll = (id: string, wait: string, token: string) =>
    head(`GET /v1/app/pairing-codes/${id}?${wait} HTTP/1.1`, bearer(token));
  const following = (id: string, wait: string, token: string) =>
    small.request('GET', `/v1/app/pairing-codes/${id}?${wait}`, { token });

  test.each(['wait=30', 'w%61it=30', 'a=b&wait=%33%30', 'wait=+30'.replace('+', '0')])(
    'are counted apart, by what is asked and not by how it is written: %s',
    async (wait) => {
      const [app, other] = [await anApp(`polling ${wait}`), await anApp(`polling too ${wait}`)];
      await served(() => me());
      const { id } = await small.code();
      const raw = await open();
      // The probe's answer shows that what was written with it has been read.
      raw.socket.write(head('GET /live HTTP/1.1') + poll(id, wait, app.token).repeat(FEW.longPollsPerCaller));
      await raw.answers(1);
      refused(await following(id, 'wait=1', app.token), 429);
      expect((await following(id, 'wait=0', app.token)).status).toBe(200);
      expect((await asApp(app.token)).status).toBe(200);

      const rest = FEW.longPolls - FEW.longPollsPerCaller;
      const another = await open();
      another.socket.write(head('GET /live HTTP/1.1') + poll(id, wait, other.token).repeat(rest));
      await another.answers(1);
      refused(await following(id, wait, other.token), 503);
      expect((await me()).status).toBe(200);
      await small.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: app.token });
      await Promise.all([raw.answers(1 + FEW.longPollsPerCaller), another.answers(1 + rest)]);
      expect((await following(id, wait, app.token)).status).toBe(200);
    },
  );

  test.each(['destroy', 'resetAndDestroy'] as const)(
    'count no longer once their connection is gone, pipelined or not: %s',
    async (leave) => {
      const app = await anApp(`leaving by ${leave}`);
      const { id } = await small.code();
      const before = small.log.lines.length;
      const over = () => small.log.lines.slice(before).filter(({ operation }) => operation === 'followCode').length;
      const raw = await open();
      raw.socket.write(head('GET /live HTTP/1.1') + poll(id, 'wait=30', app.token).repeat(FEW.longPollsPerCaller));
      await raw.answers(1);
      refused(await following(id, 'wait=1', app.token), 429);
      raw.socket[leave]();
      await small.log.waitFor(() => over() === 1 + FEW.longPollsPerCaller);
      const again = await open();
      again.socket.write(poll(id, 'wait=30', app.token).repeat(FEW.longPollsPerCaller));
      await small.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: app.token });
      expect((await again.answers(FEW.longPollsPerCaller)).map(({ status }) => status)).toEqual(
        Array(FEW.longPollsPerCaller).fill(200),
      );
    },
  );
});

describe('without a token', () => {
  test('pages are bounded apart, and nobody else is refused for them', async () => {
    const raw = await open();
    raw.socket.write(head('GET /docs/page.css HTTP/1.1').repeat(FEW.pages + 2) + head('GET /live HTTP/1.1'));
    const answers = await raw.answers(FEW.pages + 3);
    const statuses = [...Array(FEW.pages).fill(200), 503, 503, 200];
    expect(answers.map(({ status }) => status)).toEqual(statuses);
    expect(answers[FEW.pages]?.headers['retry-after']).toMatch(/^\d+$/);
    await served(() => small.request('GET', '/docs'));
  });

  test('a client that does not read its response is cut off', async () => {
    const impatient = await startHarness(
      { SANDBOX: 'true' },
      { databaseUrl: service.databaseUrl, http: { timeout: 4_000 } },
    );
    const raw = await open(impatient);
    raw.socket.pause();
    // More than the kernel keeps for a connection.
    raw.socket.write(head('GET /docs/swagger-ui-bundle.js HTTP/1.1').repeat(20));
    await impatient.log.waitFor(({ operation, status }) => operation === 'none' && status === 499);
    raw.socket.resume();
    await raw.closed();
    await impatient.stop();
  });

  test('connections beyond the bound are closed at once, and those within it are served', async () => {
    const raws = await times(FEW_CONNECTIONS + 20, () => open());
    const dropped = await Promise.race(raws.map(async (raw) => ((await raw.closed()).length === 0 ? raw : undefined)));
    expect(dropped?.received()).toBe('');
    const kept = raws.find(({ socket }) => !socket.closed && !socket.readableEnded);
    kept?.socket.write(head('GET /live HTTP/1.1'));
    expect((await kept?.answers(1))?.[0]?.status).toBe(200);
    for (const { socket } of raws) socket.destroy();
    await Promise.all(raws.map((raw) => raw.closed()));
    await pairs(small);
  });
});

test('a body in pieces of a byte is put together', async () => {
  const { code } = await service.code();
  const body = JSON.stringify({ code, charging_station: aStation() });
  const raw = await open(service);
  raw.socket.write(
    [
      pairHead(cpo.token, 'Transfer-Encoding: chunked'),
      ...[...body].map((byte) => `1\r\n${byte}\r\n`),
      '0\r\n\r\n',
    ].join(''),
  );
  expect((await raw.answers(1))[0]?.status).toBe(200);
});

test('512 connections that send a live token and drip a body keep nobody else from being served', async () => {
  await served(() => me(cpo.token, service));
  const other = await service.cpo();
  await served(() => me(other.token, service));
  const slow = await times(512, async () => {
    const raw = await open(service);
    raw.socket.write(pairHead(cpo.token, 'Content-Length: 60000', 'Expect: 100-continue'));
    raw.drip(' ', 1_000);
    return raw;
  });
  for (const raw of slow) while (!raw.received().includes('100 Continue')) await once(raw.socket, 'data');

  expect((await service.pair(other, (await service.code()).code)).status).toBe(200);
  expect((await me(other.token, service)).status).toBe(200);
  expect((await asApp(service.appToken, service)).status).toBe(200);
  expect((await service.request('GET', '/docs')).status).toBe(200);
  // What that CPO asks without a body is served as well; one more body of its is one too many.
  expect((await me(cpo.token, service)).status).toBe(200);
  refused(await service.pair(cpo, '1'), 429);
  expect(slow.filter(({ socket }) => socket.closed || socket.readableEnded)).toEqual([]);
});
