import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { protocols } from '../../src/protocols';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, startHarness } from '../harness/harness';
import { untilAnswered } from '../harness/until';

const SANDBOX = { SANDBOX: 'true' };
let service: Harness;
beforeAll(async () => {
  service = await startHarness(SANDBOX);
});
afterAll(() => service.stop());

const evse = {
  uid: '3256',
  evse_id: 'BE*BEC*E041503001',
  capabilities: ['RESERVABLE'],
  connectors: [{ id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 }],
};

test("the CPO is asked once, with its token and the code as typed, and its station is the user's", async () => {
  const station = aStation();
  const cpo = await startCpo(service, answerStation(station.uid));
  const user_id = randomUUID();
  const paired = await service.redeem(cpo, ' AB-12 cd ', { user_id });

  expect(paired.status).toBe(201);
  expect(paired.headers.get('Location')).toBe(`/v1/app/charging-stations/${station.uid}`);
  expect(paired.body).toMatchObject({
    uid: station.uid,
    user_id,
    charging_location_id: 'home',
    cpo_id: cpo.id,
    payload_protocol: 'ocpp2.0.1',
    charging_station: station,
  });
  expect(cpo.received).toHaveLength(1);
  expect(cpo.received[0]).toMatchObject({
    method: 'POST',
    path: '/v1/cpo/ocpp2.0.1/pair',
    headers: { authorization: `Bearer ${cpo.outboundToken}`, 'content-type': 'application/json' },
    body: '{"code":"AB-12 cd"}',
  });
  const found = await service.request('GET', paired.headers.get('Location') ?? '', { token: service.appToken });
  expect(found.body).toEqual(paired.body);
  await cpo.down();
});

test.each(Object.keys(protocols).filter((name) => name.startsWith('ocpi')))(
  'a CPO that speaks %s answers an EVSE',
  async (payload_protocol) => {
    const uid = randomUUID();
    const cpo = await startCpo(service, (res) => sendJson(res, 200, { evse: { ...evse, uid } }));
    const paired = await service.redeem(cpo, '1', { payload_protocol });
    expect(paired.status).toBe(201);
    expect(paired.body).toMatchObject({ uid, payload_protocol, evse: { ...evse, uid } });
    expect(paired.body.charging_station).toBeUndefined();
    expect(cpo.received[0]?.path).toBe(`/v1/cpo/${payload_protocol}/pair`);
    await cpo.down();
  },
);

test('what is optional and null in the answer of a CPO counts as absent', async () => {
  const uid = randomUUID();
  const [first] = evse.connectors;
  const nulls = { standard: null, format: null, max_electric_power: null };
  const answered = { uid, evse_id: null, capabilities: null, connectors: [{ ...first, ...nulls }] };
  const cpo = await startCpo(service, (res) => sendJson(res, 200, { evse: answered }));
  const paired = await service.redeem(cpo, '1', { payload_protocol: 'ocpi2.2.1' });
  expect([paired.status, paired.body.evse]).toEqual([201, { uid, connectors: [first] }]);
  await cpo.down();
});

const station = (part: object) => ({ charging_station: { ...aStation(), ...part } });

test.each<[string, Parameters<typeof startCpo>[1], number, string, RegExp]>([
  [
    '404',
    (res) => sendJson(res, 404, { message: 'no' }),
    404,
    'incorrect-code',
    /^Incorrect Code, please check the code and try again\.$/,
  ],
  [
    '404 of a router',
    (res) => void res.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not found</h1>'),
    502,
    'cpo-failed',
    /answered 404 without JSON: .* base_url or the payload protocol is wrong/,
  ],
  ['404 with nothing', (res) => void res.writeHead(404).end(), 502, 'cpo-failed', /answered 404 without JSON/],
  [
    'gzip',
    (res) =>
      void res
        .writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
        .end(gzipSync(JSON.stringify({ charging_station: aStation() }))),
    502,
    'cpo-failed',
    /answered 200 with Content-Encoding gzip, .* Accept-Encoding: identity/,
  ],
  ['400', (res) => sendJson(res, 400, {}), 502, 'cpo-failed', /answered 400/],
  ['401', (res) => sendJson(res, 401, {}), 502, 'cpo-failed', /answered 401/],
  ['500', (res) => sendJson(res, 500, {}), 502, 'cpo-failed', /answered 500/],
  [
    'a redirect',
    (res) => void res.writeHead(302, { location: 'https://elsewhere.example' }).end(),
    502,
    'cpo-failed',
    /answered 302/,
  ],
  ['204', (res) => void res.writeHead(204).end(), 502, 'cpo-failed', /answered 204/],
  [
    'broken JSON',
    (res) => void res.writeHead(200, { 'content-type': 'application/json' }).end('{"charging_station":'),
    502,
    'cpo-failed',
    /not valid JSON at line 1, column 21/,
  ],
  [
    '65 kB of brackets',
    (res) => void res.writeHead(200, { 'content-type': 'application/json' }).end('['.repeat(65_536)),
    502,
    'cpo-failed',
    /nested more than 64 levels deep at line 1, column 65/,
  ],
  [
    'null for what is required',
    (res) => sendJson(res, 200, station({ uid: null })),
    502,
    'cpo-failed',
    /\/charging_station\/uid must be a string, got null/,
  ],
  [
    'an object that cannot be a string',
    (res) => sendJson(res, 200, station({ uid: { toString: 1, valueOf: 1 } })),
    502,
    'cpo-failed',
    /\/charging_station\/uid must be a string, got an object/,
  ],
  [
    'HTML',
    (res) => void res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>'),
    502,
    'cpo-failed',
    /other than application\/json/,
  ],
  [
    'no uid',
    (res) => sendJson(res, 200, station({ uid: undefined })),
    502,
    'cpo-failed',
    /\/charging_station\/uid is required/,
  ],
  [
    'no EVSEs',
    (res) => sendJson(res, 200, station({ evses: [] })),
    502,
    'cpo-failed',
    /\/charging_station\/evses must have at least 1 item/,
  ],
  [
    'a repeated EVSE',
    (res) => sendJson(res, 200, station({ evses: [aStation().evses[0], aStation().evses[0]] })),
    502,
    'cpo-failed',
    /evses\/1\/evse_id is used by another/,
  ],
  ['an evse', (res) => sendJson(res, 200, { evse }), 502, 'cpo-failed', /\/charging_station is required/],
  ['a NUL', (res) => sendJson(res, 200, station({ uid: 'a\0' })), 502, 'cpo-failed', /NUL/],
  [
    'too much',
    (res) => void res.writeHead(200, { 'content-type': 'application/json' }).end(`"${'x'.repeat(70_000)}"`),
    502,
    'cpo-failed',
    /larger than 65536/,
  ],
  ['nothing, and hangs up', (res) => void res.destroy(), 502, 'cpo-failed', /could not be reached/],
])(
  'when the CPO answers %s, the app gets a problem and nothing is stored',
  async (_name, answer, status, type, message) => {
    const cpo = await startCpo(service, answer);
    const refused = await service.redeem(cpo, '918273');
    expect([refused.status, refused.body.type]).toEqual([status, `/problems/${type}`]);
    expect(refused.body.message).toMatch(message);
    expect(cpo.redemptions()).toHaveLength(1);
    const { rows } = await service.sql.query('select count(*)::int as n from pairings where cpo_id = $1', [cpo.id]);
    expect(rows).toEqual([{ n: 0 }]);
    const logged = service.log.lines.filter(
      (line) => line.message === 'call to a CPO failed' && line.cpo_id === cpo.id,
    );
    expect(logged).toHaveLength(status === 404 ? 0 : 1);
    await cpo.down();
  },
);

test('no connection is a 502', async () => {
  const cpo = await startCpo(service, answerStation());
  await cpo.down();
  expect((await service.redeem(cpo, '1')).status).toBe(502);
});

test('a CPO that does not answer in 10 s is a 504, and is not asked again; a slow one is waited for', async () => {
  const hanging = await startCpo(service, () => {});
  const slow = await startCpo(service, (res, request) => void setTimeout(() => answerStation()(res, request), 1_500));
  const dripping = await startCpo(service, (res) => {
    res.writeHead(200, { 'content-type': 'application/json' });
    const drip = setInterval(() => res.write(' '), 100);
    res.on('close', () => clearInterval(drip));
  });
  const began = performance.now();
  const answers = await Promise.all([
    service.redeem(hanging, '1'),
    service.redeem(slow, '1'),
    service.redeem(dripping, '1'),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([504, 201, 504]);
  expect(performance.now() - began).toBeGreaterThan(9_900);
  expect(performance.now() - began).toBeLessThan(20_000);
  expect(answers[0]?.body.type).toBe('/problems/cpo-timed-out');
  expect(hanging.received).toHaveLength(1);
  await Promise.all([hanging.down(), slow.down(), dripping.down()]);
});

test('a short code of a CPO is not taken over as an id; one that has it as a word is', async () => {
  const cpo = await startCpo(service, answerStation());
  const idFor = async (code: string, id: string) => {
    const { status, headers } = await service.request('POST', '/v1/app/pairings', {
      token: service.appToken,
      body: { user_id: 'u', charging_location_id: 'l', cpo_id: cpo.id, payload_protocol: 'ocpp2.0.1', code },
      headers: { 'X-Request-ID': id },
    });
    expect(status).toBe(201);
    return headers.get('X-Request-ID');
  };
  expect(await idFor('K7', 'K7')).not.toBe('K7');
  expect(await idFor('K7', 'pair/K7')).toBe('pair/K7');
  await cpo.down();
});

test('a code is redeemed on a new connection, since the CPO may be closing one that was kept', async () => {
  const used = new Set<unknown>();
  const closing = await startCpo(service, (res, request) => {
    if (used.has(res.socket)) res.destroy();
    else answerStation()(res, request);
    used.add(res.socket);
  });
  for (const code of ['1', '2']) expect((await service.redeem(closing, code)).status).toBe(201);
  await closing.down();
});

test('no connection of the database is held while CPOs think', async () => {
  const held: (() => void)[] = [];
  const cpo = await startCpo(service, (res, request) => void held.push(() => answerStation()(res, request)));
  const waiting = Array.from({ length: 30 }, () => untilAnswered(() => service.redeem(cpo, '1')));
  await cpo.asked(30);
  expect((await service.request('GET', '/ready')).status).toBe(200);
  expect((await service.code()).status).toBe('active');
  for (const answer of held) answer();
  for (const { status } of await Promise.all(waiting)) expect(status).toBe(201);
  await cpo.down();
});

test('a station that is paired already is a 409, and of two customers with one code exactly one gets it', async () => {
  const uid = `Twice-${randomUUID()}`;
  const cpo = await startCpo(service, answerStation(uid));
  const answers = await Promise.all([service.redeem(cpo, '1'), service.redeem(cpo, '1')]);
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
  cpo.answer = answerStation(uid.toUpperCase());
  const again = await service.redeem(cpo, '1');
  expect([again.status, again.body.type]).toEqual([409, '/problems/station-already-paired']);
  await cpo.down();
});

test('an unknown CPO is a validation error, one that is suspended or has no address is unavailable', async () => {
  const unknown = await service.redeem({ id: randomUUID() }, '1');
  expect(unknown.status).toBe(400);
  expect(unknown.body.errors).toEqual([{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }]);
  const noAddress = await service.redeem(await service.cpo(), '1');
  expect([noAddress.status, noAddress.body.type]).toEqual([409, '/problems/cpo-unavailable']);
  const cpo = await startCpo(service, answerStation());
  await service.sql.query('update cpos set suspended_at = now() where id = $1', [cpo.id]);
  expect((await service.redeem(cpo, '1')).status).toBe(409);
  expect(cpo.received).toHaveLength(0);
  await cpo.down();
});

test.each([
  [{ payload_protocol: 'ocpp9' }, '/payload_protocol'],
  [{ cpo_id: 'x' }, '/cpo_id'],
  [{ code: '' }, '/code'],
  [{ user_id: undefined }, '/user_id'],
])('%j is a validation error', async (body, pointer) => {
  const answer = await service.redeem({ id: randomUUID() }, '1', body);
  expect(answer.status).toBe(400);
  expect(answer.body.errors[0].pointer).toBe(pointer);
});

test('every call carries our version, an id of its own, and the trace of its caller', async () => {
  const uid = `S-${randomUUID()}`;
  const cpo = await startCpo(service, answerStation(uid));
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const caller = { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, 'X-Request-ID': `r-${randomUUID()}` };
  const send = (method: string, path: string, body?: object) =>
    service.request(method, path, { token: service.appToken, body, headers: caller });
  const body = {
    user_id: randomUUID(),
    charging_location_id: 'home',
    cpo_id: cpo.id,
    payload_protocol: 'ocpp2.0.1',
    code: '1',
  };
  expect((await send('POST', '/v1/app/pairings', body)).status).toBe(201);
  expect(cpo.received[0]?.headers).toMatchObject({
    'user-agent': expect.stringMatching(/^scsp-pairing\/\d+\.\d+\.\d+/),
    'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    'accept-encoding': 'identity',
    traceparent: expect.stringMatching(`^00-${traceId}-(?!00f067aa0ba902b7)[0-9a-f]{16}-01$`),
  });
  const line = await service.log.waitFor(
    ({ message, request_id }) => message === 'request' && request_id === caller['X-Request-ID'],
  );
  expect(line).toMatchObject({ trace_id: traceId, span_id: expect.stringMatching(/^[0-9a-f]{16}$/) });

  expect((await send('POST', `/v1/app/charging-stations/${uid}/unpair`)).status).toBe(200);
  const told = await service.log.waitFor(
    ({ message, cpo_id }) => message === 'CPO notified of an unpairing' && cpo_id === cpo.id,
  );
  expect([told.trace_id, told.request_id]).toEqual([traceId, caller['X-Request-ID']]);
  expect(cpo.received[1]?.headers).toMatchObject({
    'user-agent': cpo.received[0]?.headers['user-agent'],
    traceparent: expect.stringMatching(`^00-${traceId}-`),
  });
  for (const [index, operation] of ['pair', 'unpair'].entries()) {
    const called = cpo.received[index]?.headers ?? {};
    const logged = service.log.lines.find(({ call_request_id }) => call_request_id === called['x-request-id']);
    expect(logged).toMatchObject({
      message: 'CPO called',
      request_id: caller['X-Request-ID'],
      trace_id: traceId,
      span_id: String(called.traceparent).split('-')[2],
      cpo_id: cpo.id,
      operation,
      status: 200,
      outcome: 'answered',
    });
  }
  expect(cpo.received[0]?.headers['x-request-id']).not.toBe(cpo.received[1]?.headers['x-request-id']);
  await cpo.down();
});

test('the token that a CPO gave us is stored sealed, and only its own row opens it', async () => {
  const cpo = await startCpo(service, answerStation());
  const other = await startCpo(service, answerStation());
  const { rows } = await service.sql.query(
    "select to_jsonb(c)::text as row, encode(outbound_token, 'escape') as bytes from cpos c where id = $1",
    [cpo.id],
  );
  expect(rows[0].row + rows[0].bytes).not.toContain(cpo.outboundToken);
  await service.sql.query(
    'update cpos c set outbound_token = o.outbound_token from cpos o where c.id = $1 and o.id = $2',
    [other.id, cpo.id],
  );
  service.log.provokeInternalErrors();
  expect((await service.redeem(other, '1')).status).toBe(500);
  expect(other.received).toHaveLength(0);
  await Promise.all([cpo.down(), other.down()]);
});

test('outside the sandbox no private address is called, whatever the database says', async () => {
  const strict = await startHarness({ SANDBOX: 'false' });
  const cpo = await startCpo(strict, answerStation());
  const port = new URL(cpo.url).port;
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1']) {
    await strict.sql.query('update cpos set base_url = $2 where id = $1', [cpo.id, `http://${host}:${port}`]);
    const refused = await strict.redeem(cpo, '1');
    expect([refused.status, refused.body.message]).toEqual([
      502,
      expect.stringContaining('private or otherwise special'),
    ]);
  }
  await strict.sql.query('update cpos set base_url = $2 where id = $1', [cpo.id, 'http://8.8.8.8:1']);
  expect((await strict.redeem(cpo, '1')).body.message).toContain('private or otherwise special');
  expect(cpo.received).toHaveLength(0);
  await Promise.all([cpo.down(), strict.stop()]);
});
