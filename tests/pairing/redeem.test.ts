import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { deriveKeys, hashSubject } from '../../src/crypto/keys';
import { protocols } from '../../src/protocols';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

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
    expect(cpo.received).toHaveLength(1);
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

test('no connection of the database is held while CPOs think', async () => {
  const held: (() => void)[] = [];
  const cpo = await startCpo(service, (res, request) => void held.push(() => answerStation()(res, request)));
  const waiting = Array.from({ length: 30 }, () => service.redeem(cpo, '1'));
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
])('%j is a fault', async (body, pointer) => {
  const answer = await service.redeem({ id: randomUUID() }, '1', body);
  expect(answer.status).toBe(400);
  expect(answer.body.errors[0].pointer).toBe(pointer);
});

test('five wrong codes in ten minutes are a user’s limit, also all at once, and a right one is then refused too', async () => {
  const user_id = randomUUID();
  const cpo = await startCpo(service, (res) => sendJson(res, 404, {}));
  const answers = await Promise.all(Array.from({ length: 12 }, () => service.redeem(cpo, '1', { user_id })));
  const statuses = answers.map(({ status }) => status).sort();
  expect(statuses).toEqual([...Array(5).fill(404), ...Array(7).fill(429)]);
  expect(cpo.received).toHaveLength(5);
  cpo.answer = answerStation();
  const refused = await service.redeem(cpo, '1', { user_id });
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-incorrect-codes']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(590);
  expect((await service.redeem(cpo, '1')).status).toBe(201);

  await service.sql.query(
    `update redemption_attempts set began_at = began_at - interval '10 minutes' where user_hash = $1`,
    [hashSubject(deriveKeys(SECRET_KEY), 'user', user_id)],
  );
  expect((await service.redeem(cpo, '1', { user_id })).status).toBe(201);
  await cpo.down();
});

test('all codes that are sent for a user are limited, whatever became of them', async () => {
  const user_id = randomUUID();
  const cpo = await startCpo(service, (res) => sendJson(res, 400, {}));
  for (let i = 0; i < 20; i++) expect((await service.redeem(cpo, '1', { user_id })).status).toBe(502);
  const refused = await service.redeem(cpo, '1', { user_id });
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-redemptions']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(500);
  expect(cpo.received).toHaveLength(20);
  expect((await service.redeem(cpo, '1')).status).toBe(502);
  await cpo.down();
});

test('of more than 64 redemptions in flight at one CPO the others are refused at once, and other CPOs are asked', async () => {
  const held: (() => void)[] = [];
  const cpo = await startCpo(service, (res, request) => void held.push(() => answerStation()(res, request)));
  const waiting = Array.from({ length: 64 }, () => service.redeem(cpo, '1'));
  await cpo.asked(64);
  const refused = await service.redeem(cpo, '1');
  expect([refused.status, refused.body.type]).toEqual([503, '/problems/unavailable']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0);
  const other = await startCpo(service, answerStation());
  expect((await service.redeem(other, '1')).status).toBe(201);
  for (const answer of held) answer();
  await Promise.all(waiting);
  cpo.answer = answerStation();
  expect((await service.redeem(cpo, '1')).status).toBe(201);
  await Promise.all([cpo.down(), other.down()]);
});

test.each([' ', '\u2003\t', '\u200b \ufeff'])(
  'a code of nothing but space is incorrect, and the CPO is not asked: %j',
  async (code) => {
    const cpo = await startCpo(service, answerStation());
    const user_id = randomUUID();
    const refused = await service.redeem(cpo, code, { user_id });
    expect([refused.status, refused.body.type]).toEqual([404, '/problems/incorrect-code']);
    expect(cpo.received).toHaveLength(0);
    expect(await attemptsOf(user_id)).toEqual([]);
    await cpo.down();
  },
);

const attemptsOf = async (userId: string) => {
  const hash = hashSubject(deriveKeys(SECRET_KEY), 'user', userId);
  return (await service.sql.query('select outcome from redemption_attempts where user_hash = $1', [hash])).rows;
};
const outboxOf = async (cpoId: string) =>
  (await service.sql.query('select uid, pairing_id from outbox where cpo_id = $1', [cpoId])).rows;

describe('a CPO that answered 200 for a pairing that was not kept is notified of an unpair', () => {
  /** A CPO that answers a code as told, and notes unpairs. */
  const startNoting = async (uid: string, body: object) => {
    const cpo = await startCpo(service, (res, { path }) =>
      sendJson(res, 200, path.endsWith('/pair') && !path.includes('/unpair') ? body : {}),
    );
    const unpaired = async () => {
      await service.log.waitFor((line) => line.message === 'CPO notified of an unpairing' && line.cpo_id === cpo.id);
      return cpo.received.filter(({ path }) => path === `/v1/cpo/chargingstations/${encodeURIComponent(uid)}/unpair`);
    };
    return { cpo, unpaired };
  };

  test('an answer against the contract, whose uid can be read', async () => {
    const uid = `broken / ${randomUUID().slice(0, 8)}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: { ...aStation(uid), evses: '1' } });
    // A CPO may name stations by its codes.
    expect((await service.redeem(cpo, 'broken')).status).toBe(502);
    expect(await unpaired()).toHaveLength(1);
    expect(await outboxOf(cpo.id)).toEqual([]);
    await cpo.down();
  });

  test('an answer with two media types', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, {});
    const { answer } = cpo;
    cpo.answer = (res) => {
      res.setHeader('content-type', ['application/json', 'application/json']);
      res.end(JSON.stringify({ charging_station: aStation(uid) }));
    };
    const { status, body } = await service.redeem(cpo, '1');
    expect([status, body.type]).toEqual([502, '/problems/cpo-failed']);
    cpo.answer = answer;
    await service.sql.query('update outbox set next_attempt_at = now() where cpo_id = $1', [cpo.id]);
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });

  test('a pairing whose notification could not be stored either, once the database is back', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: { ...aStation(uid), evses: '1' } });
    await service.sql.query(`create or replace function refuse_notification() returns trigger language plpgsql as $$
      begin if new.uid = '${uid}' then raise sqlstate '57P01'; end if; return new; end $$`);
    await service.sql.query(
      'create trigger refuse_notification before insert on outbox for each row execute function refuse_notification()',
    );
    expect((await service.redeem(cpo, '1')).status).toBe(502);
    await service.log.waitFor((line) => line.level === 'error' && line.cpo_id === cpo.id);
    await service.sql.query('drop trigger refuse_notification on outbox');
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });

  test('a uid that is paired at another CPO, but not one that is paired with it', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: aStation(uid) });
    const { cpo: other } = await startNoting(uid, { charging_station: aStation(uid) });
    expect((await service.redeem(other, '1')).status).toBe(201);
    expect((await service.redeem(cpo, '1')).status).toBe(409);
    expect(await unpaired()).toHaveLength(1);
    expect((await service.redeem(other, '1')).status).toBe(409);
    expect(await outboxOf(other.id)).toEqual([]);
    expect(other.received).toHaveLength(2);
    await Promise.all([cpo.down(), other.down()]);
  });

  test('a user who was forgotten in between, and is not brought back', async () => {
    const uid = `S-${randomUUID()}`;
    const user_id = randomUUID();
    const { cpo, unpaired } = await startNoting(uid, { charging_station: aStation(uid) });
    const answer = cpo.answer;
    let release = () => {};
    cpo.answer = (res, request) => {
      release = () => answer(res, request);
    };
    const redeeming = service.redeem(cpo, '1', { user_id });
    await cpo.asked(1);
    // What forgetting a user does first.
    await service.sql.query(
      `update redemption_attempts set outcome = 'forgotten' where user_hash = $1 and outcome is null`,
      [hashSubject(deriveKeys(SECRET_KEY), 'user', user_id)],
    );
    cpo.answer = answer;
    release();
    const refused = await redeeming;
    expect([refused.status, refused.body.type]).toEqual([404, '/problems/user-forgotten']);
    expect((await service.sql.query('select from pairings where user_id = $1', [user_id])).rowCount).toBe(0);
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });

  test('a pairing that our database did not store', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: aStation(uid) });
    await service.sql.query(`create or replace function refuse() returns trigger language plpgsql as $$
      begin if new.uid = '${uid}' then raise sqlstate '57P01'; end if; return new; end $$`);
    await service.sql.query('create trigger refuse before insert on stations for each row execute function refuse()');
    expect((await service.redeem(cpo, '1')).status).toBe(503);
    await service.sql.query('drop trigger refuse on stations');
    // It waits until nobody can commit the pairing any more.
    await untilSo(async () => (await outboxOf(cpo.id)).length > 0);
    await service.sql.query('update outbox set next_attempt_at = now() where cpo_id = $1', [cpo.id]);
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });
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

test('failures of a CPO are not counted as incorrect codes', async () => {
  const user_id = randomUUID();
  const cpo = await startCpo(service, (res) => sendJson(res, 400, {}));
  for (let i = 0; i < 7; i++) expect((await service.redeem(cpo, '1', { user_id })).status).toBe(502);
  await cpo.down();
});

test('after ten failures in a row of three users a CPO is left alone, others are not, and a wrong code is no failure', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
  for (let i = 0; i < 9; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
  cpo.answer = (res) => sendJson(res, 404, {});
  expect((await service.redeem(cpo, '1')).status).toBe(404);
  cpo.answer = (res) => sendJson(res, 503, {});
  for (let i = 0; i < 10; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
  const asked = cpo.received.length;
  const user_id = randomUUID();
  const refused = await service.redeem(cpo, '1', { user_id });
  expect([refused.status, refused.body.type]).toEqual([503, '/problems/unavailable']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(20);
  expect(cpo.received).toHaveLength(asked);
  expect(await attemptsOf(user_id)).toEqual([]);
  expect(service.log.lines).toContainEqual(
    expect.objectContaining({ level: 'warn', message: expect.stringContaining('circuit'), cpo_id: cpo.id }),
  );
  const other = await startCpo(service, answerStation());
  expect((await service.redeem(other, '1')).status).toBe(201);
  await Promise.all([cpo.down(), other.down()]);
});

test('nobody closes a CPO for others: ten redemptions of one user leave it open, whatever the CPO answers', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
  const [one, two] = [randomUUID(), randomUUID()];
  for (let i = 0; i < 12; i++) {
    const answer = await service.redeem(cpo, '1', { user_id: i % 2 === 0 ? one : two });
    expect(answer.status).toBe(502);
  }
  cpo.answer = answerStation();
  expect((await service.redeem(cpo, '1')).status).toBe(201);
  await cpo.down();
});

test('answers that are too large are no failures of a CPO', async () => {
  const cpo = await startCpo(
    service,
    (res) => void res.writeHead(200, { 'content-type': 'application/json' }).end(`"${'x'.repeat(70_000)}"`),
  );
  for (let i = 0; i < 11; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
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

test('5xx answers that are large open the circuit, too', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, { message: 'x'.repeat(70_000) }));
  for (let i = 0; i < 10; i++) expect((await service.redeem(cpo, '1')).body.message).toBe('The CPO answered 500.');
  expect((await service.redeem(cpo, '1')).status).toBe(503);
  expect(cpo.received).toHaveLength(10);
  await cpo.down();
});
