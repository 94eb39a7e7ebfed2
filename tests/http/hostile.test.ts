import { connect } from 'node:net';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { heapGrowth } from '../harness/heap';
import { openRaw, type RawAnswer, sayRaw } from '../harness/raw-http';

/** As in production, only sooner. */
const SOON = { headersTimeout: 500, requestTimeout: 2_500, connectionsCheckingInterval: 50 };

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS, { http: SOON });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const opened: Awaited<ReturnType<typeof openRaw>>[] = [];
afterEach(() => {
  for (const { socket } of opened.splice(0)) socket.destroy();
});
const open = async (at = service) => {
  const raw = await openRaw(at.url);
  opened.push(raw);
  return raw;
};
const say = (text: string) => sayRaw(service.url, text);

const PATH = '/v1/scsp/ocpp2.0.1/pair';
const times = <T>(n: number, make: (i: number) => T) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const head = (line: string, ...headers: string[]) => [line, 'Host: x', ...headers, '', ''].join('\r\n');
const bearer = (token: string) => `Authorization: Bearer ${token}`;
const own = () => bearer(cpo.token);
const pairRequest = (code: string, version = 'HTTP/1.1', ...headers: string[]) => {
  const body = JSON.stringify({ code, charging_station: aStation() });
  return (
    head(
      `POST ${PATH} ${version}`,
      own(),
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      ...headers,
    ) + body
  );
};
const poll = (id: string, host = '') =>
  head(`GET ${host}/v1/app/pairing-codes/${id}?wait=30 HTTP/1.1`, bearer(service.appToken));
const inOneShape = (answer: RawAnswer | undefined, status: number, type: string) => {
  expect(answer).toMatchObject({ status, body: { status, type: `/problems/${type}`, message: expect.any(String) } });
  expect(answer?.body.request_id).toBe(answer?.headers['x-request-id']);
};
/** So many bad tokens that the next is not looked up, but refused from memory. */
const flood = () => times(30, (i) => service.request('GET', '/v1/scsp/me', { token: `scsp_cpo_${i}` }));
const pairs = async (at = service) => expect((await at.pair(cpo, (await at.code()).code)).status).toBe(200);

describe('slow senders', () => {
  test('a hundred that never end their headers get 408 and are cut off, and others are served meanwhile', async () => {
    // Only the time for headers can end within the deadline of a test.
    const patient = await startHarness(NO_LIMITS, { http: { ...SOON, requestTimeout: 300_000 } });
    const other = await patient.cpo();
    const slow = await times(100, () => open(patient));
    for (const raw of slow) {
      raw.socket.write('GET /live HTTP/1.1\r\nHost: x\r\n');
      raw.drip('X: y\r\n', 50);
    }
    expect((await patient.pair(other, (await patient.code()).code)).status).toBe(200);
    for (const raw of slow) inOneShape((await raw.closed())[0], 408, 'request-timeout');
    await patient.stop();
  });

  test('a body that drips gets 408 and is cut off', async () => {
    const raw = await open();
    raw.socket.write(head(`POST ${PATH} HTTP/1.1`, own(), 'Content-Type: application/json', 'Content-Length: 1000'));
    raw.drip(' ', 50);
    const answers = await raw.closed();
    expect(answers).toHaveLength(1);
    inOneShape(answers[0], 408, 'request-timeout');
  });

  test('a connection that says nothing is closed', async () => {
    const raw = await open();
    await raw.closed();
  });
});

describe('bodies without measure', () => {
  const endless = async (...headers: string[]) => {
    const raw = await open();
    raw.socket.write(
      head(`POST ${PATH} HTTP/1.1`, 'Content-Type: application/json', 'Transfer-Encoding: chunked', ...headers),
    );
    raw.drip(`4000\r\n${' '.repeat(0x4000)}\r\n`, 5);
    return raw.closed();
  };

  test('one that never ends is refused, and its connection ends', async () => {
    await flood();
    const answers = await Promise.all([endless(), endless(bearer('scsp_cpo_x')), endless(own())]);
    expect(answers.map((each) => each.length)).toEqual([1, 1, 1]);
    inOneShape(answers[0]?.[0], 401, 'missing-token');
    inOneShape(answers[1]?.[0], 401, 'invalid-token');
    inOneShape(answers[2]?.[0], 413, 'body-too-large');
  });

  test.each([10_000_000_000, 100_000])('one of %d bytes is refused before it comes', async (length) => {
    const raw = await open();
    raw.socket.write(
      head(`POST ${PATH} HTTP/1.1`, own(), 'Content-Type: application/json', `Content-Length: ${length}`),
    );
    inOneShape((await raw.answers(1))[0], 413, 'body-too-large');
  });

  test('one that is refused and then comes to its end leaves the connection good', async () => {
    const raw = await open();
    raw.socket.write(head(`POST ${PATH} HTTP/1.1`, own(), 'Content-Type: application/json', 'Content-Length: 100000'));
    raw.socket.write(' '.repeat(100_000) + head('GET /live HTTP/1.1'));
    expect((await raw.answers(2)).map(({ status }) => status)).toEqual([413, 200]);
  });
});

describe('content types', () => {
  test('of any number and kind cost no memory, with a body or without', async () => {
    const ask = async (from: number) => {
      for (let i = from; i < from + 100; i++) {
        const headers = { 'Content-Type': `application/json; x=${i}` };
        await service.request('GET', '/live', { headers });
        await service.request('POST', PATH, { token: cpo.token, raw: '{}', headers });
      }
    };
    await ask(0);
    expect(await heapGrowth((nth) => ask(100 * nth))).toBeLessThan(2_000_000);
  });
});

describe('connections', () => {
  test('a hundred requests sent in one go are answered in their order', async () => {
    const { code } = await service.code();
    const raw = await open();
    const asks = Array.from({ length: 98 }, (_, i) =>
      head(i % 3 === 0 ? 'GET /live HTTP/1.1' : 'GET /v1/scsp/me HTTP/1.1', own(), `X-Request-ID: ask-${i}`),
    );
    raw.socket.write(
      [
        pairRequest(code, 'HTTP/1.1', 'X-Request-ID: first'),
        ...asks,
        head('GET / HTTP/1.1', 'X-Request-ID: last'),
      ].join(''),
    );
    const answers = await raw.answers(100);
    expect(answers.map(({ headers }) => headers['x-request-id'])).toEqual([
      'first',
      ...asks.map((_, i) => `ask-${i}`),
      'last',
    ]);
    expect(answers.map(({ status }) => status)).toEqual(Array(100).fill(200));
  });

  test('what is not HTTP after a pairing request ends the connection, once the pairing has been answered', async () => {
    const { code } = await service.code();
    const answers = await say(`${pairRequest(code)}nonsense\r\n\r\n`);
    expect(answers.map(({ status }) => status)).toEqual([200]);
  });

  test('no refusal can be taken for the answer to another request', async () => {
    await flood();
    const refused = head(`POST ${PATH} HTTP/1.1`, bearer('scsp_cpo_x'), 'Content-Length: 2');
    const { id } = await service.code();
    const slow = head(`GET /v1/app/pairing-codes/${id}?wait=1 HTTP/1.1`, bearer(service.appToken));
    const chunked = head(`POST ${PATH} HTTP/1.1`, bearer('scsp_cpo_x'), 'Transfer-Encoding: chunked');
    const statuses = async (text: string) => (await say(text)).map(({ status }) => status);
    expect(
      await Promise.all([
        statuses(`${refused}{}${slow}nonsense\r\n\r\n`),
        statuses(`${slow}${refused}{}nonsense\r\n\r\n`),
      ]),
    ).toEqual([
      [401, 200],
      [200, 401],
    ]);
    // The token or the bytes: which of them is refused first depends on whether the token is looked up.
    expect([[200], [200, 401]]).toContainEqual(await statuses(`${slow}${chunked}nonsense\r\n\r\n`));
    expect(await statuses(`${chunked}2\r\n{}\r\nnonsense\r\n\r\n`)).toHaveLength(1);
  });

  test('a client that sends no HTTP and then neither stops nor closes is cut off', async () => {
    const { port } = new URL(service.url);
    const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => undefined).resume();
    const cut = new Promise((resolve) => socket.once('close', resolve));
    socket.write('nonsense\r\n\r\n');
    const drip = setInterval(() => socket.write('more of it\r\n'), 50);
    await cut;
    clearInterval(drip);
  });

  test('a caller that closes its half after the request gets its answer, a long poll at once', async () => {
    const { code, id } = await service.code();
    const polling = await open();
    polling.socket.end(poll(id));
    expect((await polling.closed()).map(({ body }) => body.status)).toEqual(['active']);
    const pairing = await open();
    pairing.socket.end(pairRequest(code));
    expect((await pairing.closed()).map(({ status }) => status)).toEqual([200]);
  });

  test('HTTP/1.0 pairs, and its connection is closed', async () => {
    const [answer, ...more] = await say(pairRequest((await service.code()).code, 'HTTP/1.0'));
    expect([answer?.status, answer?.headers.connection, more]).toEqual([200, 'close', []]);
  });

  test('a target in absolute form, as proxies send it, is the same request (RFC 9112, 3.2.2)', async () => {
    const raw = await open();
    const me = 'GET http://X/v1/scsp/me?x=1 HTTP/1.1';
    raw.socket.write(head(me, own()) + head(me, bearer('scsp_cpo_unknown')) + head('GET http:///live HTTP/1.1'));
    const [known, unknown, nowhere] = await raw.answers(3);
    expect(known).toMatchObject({ status: 200, body: { cpo: { id: cpo.id } } });
    inOneShape(unknown, 401, 'invalid-token');
    inOneShape(nowhere, 404, 'not-found');
    expect((await say(head('GET http://x/docs/page.css HTTP/1.1', 'Connection: close')))[0]?.status).toBe(200);
  });

  test('CONNECT is refused in the one shape, and an upgrade is ignored', async () => {
    const connect = head('CONNECT other:443 HTTP/1.1') + head('GET /live HTTP/1.1');
    const [refused, ...more] = await say(connect);
    inOneShape(refused, 405, 'method-not-allowed');
    expect(refused?.headers).toMatchObject({ allow: '', connection: 'close' });
    expect(more).toEqual([]);
    const behind = await say(head('GET /v1/scsp/me HTTP/1.1', own()) + connect);
    expect(behind.map(({ status }) => status)).toEqual([200]);
    for (const upgrade of ['websocket', 'h2c']) {
      const answers = await say(head('GET /live HTTP/1.1', 'Connection: Upgrade, close', `Upgrade: ${upgrade}`));
      expect(answers.map(({ status, body }) => [status, body])).toEqual([[200, { status: 'ok' }]]);
    }
  });
});

describe('requests that two could read in two ways, or nobody', () => {
  const post = (...headers: string[]) => `${head(`POST ${PATH} HTTP/1.1`, 'Connection: close', ...headers)}`;
  const get = (line: string, ...headers: string[]) => head(line, 'Connection: close', ...headers);
  test.each<[string, () => string, number, string]>([
    ['two hosts', () => get('GET /live HTTP/1.1', 'Host: y'), 400, 'malformed-request'],
    [
      'two hosts, two thousand headers apart',
      () => get('GET /live HTTP/1.1', ...Array(2_000).fill('a:'), 'Host: y'),
      400,
      'malformed-request',
    ],
    ['the same token twice', () => get('GET /v1/scsp/me HTTP/1.1', own(), own()), 400, 'malformed-request'],
    [
      'two content types',
      () => post(own(), 'Content-Type: application/json', 'Content-Type: text/plain'),
      400,
      'malformed-request',
    ],
    ['two lengths', () => `${post(own(), 'Content-Length: 2', 'Content-Length: 3')}{}`, 400, 'malformed-request'],
    ['one length twice', () => `${post(own(), 'Content-Length: 2', 'Content-Length: 2')}{}`, 400, 'malformed-request'],
    ['a list of lengths', () => `${post(own(), 'Content-Length: 2, 2')}{}`, 400, 'malformed-request'],
    ['a length below zero', () => post(own(), 'Content-Length: -2'), 400, 'malformed-request'],
    ['a length beyond all numbers', () => post(own(), `Content-Length: ${'9'.repeat(30)}`), 400, 'malformed-request'],
    [
      'length and chunks',
      () => `${post(own(), 'Content-Length: 2', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
      400,
      'malformed-request',
    ],
    [
      'chunks and length',
      () => `${post(own(), 'Transfer-Encoding: chunked', 'Content-Length: 2')}0\r\n\r\n`,
      400,
      'malformed-request',
    ],
    [
      'chunks that are not the last coding',
      () => post(own(), 'Transfer-Encoding: chunked, identity'),
      400,
      'malformed-request',
    ],
    ['a coding that nobody has', () => post(own(), 'Transfer-Encoding: xchunked'), 400, 'malformed-request'],
    [
      'a chunk with an endless extension',
      () => `${post(own(), 'Transfer-Encoding: chunked')}2;${'x'.repeat(20_000)}`,
      400,
      'malformed-request',
    ],
    ['a space before the colon', () => get('GET /live HTTP/1.1', 'X : y'), 400, 'malformed-request'],
    ['a folded header', () => get('GET /live HTTP/1.1', 'X: y', ' z'), 400, 'malformed-request'],
    ['lines that end with LF alone', () => 'GET /live HTTP/1.1\nHost: x\n\n', 400, 'malformed-request'],
    ['a NUL in a header', () => get('GET /live HTTP/1.1', 'X: a\0b'), 400, 'malformed-request'],
    ['a greeting in TLS', () => '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', 400, 'malformed-request'],
    ['the preface of HTTP/2', () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'malformed-request'],
    ['a method that nobody has', () => get('BREW /live HTTP/1.1'), 400, 'malformed-request'],
    ['a method in lower case', () => get('get /live HTTP/1.1'), 400, 'malformed-request'],
    ['TRACE', () => get('TRACE /live HTTP/1.1'), 405, 'method-not-allowed'],
    ['PROPFIND', () => get('PROPFIND /live HTTP/1.1'), 405, 'method-not-allowed'],
    ['OPTIONS of all', () => get('OPTIONS * HTTP/1.1'), 404, 'not-found'],
    ['no path', () => get('GET HTTP/1.1'), 400, 'malformed-request'],
    ['a path in raw UTF-8', () => get('GET /\xc3\xa9 HTTP/1.1'), 400, 'malformed-request'],
    ['two slashes', () => get('GET //live HTTP/1.1'), 404, 'not-found'],
    ['the address of somebody else', () => get('GET http://other/live HTTP/1.1'), 404, 'not-found'],
    ['a path of 15,000 characters', () => get(`GET /${'x'.repeat(15_000)} HTTP/1.1`), 404, 'not-found'],
    ['a path of 20,000 characters', () => get(`GET /${'x'.repeat(20_000)} HTTP/1.1`), 431, 'headers-too-large'],
    [
      'a flood of headers',
      () => get('GET /live HTTP/1.1', ...Array(3_000).fill('X: 123456')),
      431,
      'headers-too-large',
    ],
    [
      'a query nested without end',
      () => get(`GET /v1/app/charging-stations?user_id${'[a]'.repeat(4_000)}=1 HTTP/1.1`, bearer(service.appToken)),
      400,
      'invalid-request',
    ],
    [
      'a query into the prototype',
      () => get('GET /v1/app/charging-stations?user_id[__proto__][x]=1 HTTP/1.1', bearer(service.appToken)),
      400,
      'invalid-request',
    ],
  ])('%s', async (_name, text, status, type) => {
    const answers = await say(text());
    expect(answers).toHaveLength(1);
    inOneShape(answers[0], status, type);
  });

  test('the same bad token twice, in a flood of bad tokens', async () => {
    await flood();
    const bad = bearer('scsp_cpo_x');
    inOneShape((await say(get('GET /v1/scsp/me HTTP/1.1', bad, bad)))[0], 400, 'malformed-request');
  });

  test.each([
    ['PATCH', '/v1/scsp/me', 405],
    ['GET', '/v1/nothing', 404],
    ['POST', '/v1/scsp/ocpp2.0.1/pair', 401],
  ])('%s %s with a bad token is a %i, in a flood of them as without', async (method, path, status) => {
    const ask = () => service.request(method, path, { token: 'scsp_cpo_x', ...(status === 401 && { body: {} }) });
    const before = await ask();
    await flood();
    const [during] = await Promise.all([ask(), flood()]);
    expect([before.status, during.status]).toEqual([status, status]);
    expect({ ...during.body, request_id: '' }).toEqual({ ...before.body, request_id: '' });
  });

  test('thousands of empty headers and of query parameters are accepted', async () => {
    expect((await say(get('GET /live HTTP/1.1', ...Array(3_000).fill('a:'))))[0]?.status).toBe(200);
    expect((await say(get(`GET /live?${'x=1&'.repeat(3_500)} HTTP/1.1`)))[0]?.status).toBe(200);
  });

  test.each('%00 %2e %2e%2e %2F %5C %25 %2525 %0d%0aX:y ..%2f.. ;x=1 %F0%9F%94%8C + %20 . ..'.split(' '))(
    'a station %j is unknown',
    async (uid) => {
      const answers = await say(
        head(`POST /v1/scsp/evse/${uid}/unpair HTTP/1.1`, own(), 'Connection: close', 'Content-Length: 0'),
      );
      expect(answers).toHaveLength(1);
      inOneShape(answers[0], 404, 'unknown-station');
    },
  );

  test.each(['pairing-codes', 'charging-stations'])('NUL as an id of %s is not found', async (list) => {
    const { status } = await service.request('GET', `/v1/app/${list}/%00`, { token: service.appToken });
    expect(status).toBe(404);
  });

  test('NUL as the id of a user is that of nobody', async () => {
    expect((await service.request('DELETE', '/v1/app/users/%00', { token: service.appToken })).status).toBe(204);
  });

  test.each('% %2 %ZZ %C0%AF %ff %u0041 %ED%A0%80'.split(' '))(
    'a station %j, which is not percent-encoded UTF-8, is not found',
    async (uid) => {
      const answers = await say(
        head(`POST /v1/scsp/evse/${uid}/unpair HTTP/1.1`, own(), 'Connection: close', 'Content-Length: 0'),
      );
      expect(answers).toHaveLength(1);
      inOneShape(answers[0], 404, 'not-found');
    },
  );
});

test('after all of it the service still pairs, and found nothing wrong with itself', async () => {
  await pairs();
  expect((await service.request('GET', '/ready')).status).toBe(200);
  expect(service.log.lines.filter(({ level, message }) => level === 'error' || message === 'internal error')).toEqual(
    [],
  );
});
