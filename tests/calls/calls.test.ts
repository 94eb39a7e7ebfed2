import { randomUUID } from 'node:crypto';
import { RecordCalls } from '../../src/calls/record-calls';
import { newSpan } from '../../src/contract/trace-context';
import { random } from '../../src/crypto/random';
import { createMetrics } from '../../src/metrics/metrics';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { startBehindProxy } from '../harness/behind-proxy';
import { aStation, type Harness, NO_LIMITS, recordedLog, startHarness } from '../harness/harness';
import { until, untilSo, untilStatus } from '../harness/until';

const SETTINGS = { SANDBOX: 'true', ...NO_LIMITS };

let service: Harness;
beforeAll(async () => {
  service = await startHarness(SETTINGS);
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;
const list = (cpo: { token: string }, query: Record<string, string> | string = {}, at = service) =>
  at.request('GET', `/v1/scsp/calls?${new URLSearchParams(query)}`, { token: cpo.token });
/** The calls to a CPO, asked for until there are so many: each is stored after its answer is out. */
async function listed(cpo: { token: string }, count: number): Promise<any[]> {
  const { status, body } = await until(
    (answer) => answer.body.items?.length >= count,
    () => list(cpo),
  );
  expect(status).toBe(200);
  expect(body.items).toHaveLength(count);
  return body.items;
}

describe('what was called at a CPO', () => {
  test('is listed with what became of it, the latest first', async () => {
    const uid = `S-${randomUUID()}`;
    const cpo = await startCpo(service, answerStation(uid));
    expect((await service.redeem(cpo, '1')).status).toBe(201);
    await listed(cpo, 1);
    expect((await service.unpairAsApp(uid)).status).toBe(200);
    const items = await listed(cpo, 2);
    expect(items.toReversed()).toEqual(
      ['pair', 'unpair'].map((operation, index) => ({
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        called_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        operation,
        payload_protocol: 'ocpp2.0.1',
        request_id: cpo.received[index]?.headers['x-request-id'],
        status: 200,
        duration_ms: expect.any(Number),
        outcome: 'answered',
      })),
    );
    expect(Date.now() - Date.parse(items[1].called_at)).toBeLessThan(60_000);
  });

  const evses = [{ ...aStation().evses[0], evse_id: '1' }, {}];
  const { uid: _uid, ...withoutUid } = aStation();
  test.each<[string, Parameters<typeof startCpo>[1], object]>([
    ['incorrect-code', (res) => sendJson(res, 404, {}), { status: 404 }],
    ['rejected', (res) => sendJson(res, 401, {}), { status: 401 }],
    ['rejected', (res) => sendJson(res, 503, {}), { status: 503 }],
    ['rejected', (res) => sendJson(res, 201, {}), { status: 201 }],
    ['redirected', (res) => res.writeHead(307, { Location: '/' }).end(), { status: 307 }],
    [
      'unreachable',
      (res) => res.destroy(),
      {
        errors: [{ pointer: '', message: 'the connection was closed without a complete answer. Look into your log' }],
      },
    ],
    [
      'invalid-answer',
      (res) => res.writeHead(404, { 'content-type': 'text/html' }).end(),
      {
        status: 404,
        errors: [{ pointer: '', message: 'is a 404 without JSON: the base_url or the payload protocol is wrong' }],
      },
    ],
    [
      'invalid-answer',
      (res) => res.writeHead(200, { 'content-type': 'text/plain' }).end('{}'),
      { status: 200, errors: [{ pointer: '', message: 'must have the media type application/json' }] },
    ],
    [
      'invalid-answer',
      (res) => res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'br' }).end('{}'),
      { status: 200, errors: [{ pointer: '', message: 'must have no Content-Encoding' }] },
    ],
    [
      'invalid-answer',
      (res) => sendJson(res, 200, { charging_station: aStation(), more: 'x'.repeat(66_000) }),
      { status: 200, errors: [{ pointer: '', message: 'is larger than 65536 bytes' }] },
    ],
    [
      'invalid-answer',
      (res) => res.writeHead(200, { 'content-type': 'application/json' }).end('{"charging_station"'),
      {
        status: 200,
        errors: [{ pointer: '', message: expect.stringMatching(/^is not valid JSON at line 1, column/) }],
      },
    ],
    [
      'invalid-answer',
      (res) => sendJson(res, 200, { charging_station: { ...withoutUid, evses } }),
      {
        status: 200,
        errors: [
          { pointer: '/charging_station/uid', message: 'is required' },
          { pointer: '/charging_station/evses/0/evse_id', message: 'must be an integer' },
          { pointer: '/charging_station/evses/1/evse_id', message: 'is required' },
          { pointer: '/charging_station/evses/1/connectors', message: 'is required' },
        ],
      },
    ],
  ])('is listed when it was no success: %s, %#', async (outcome, answer, said) => {
    const cpo = await startCpo(service, answer);
    expect([404, 502]).toContain((await service.redeem(cpo, '1')).status);
    const [item] = await listed(cpo, 1);
    expect(item).toEqual({
      id: expect.any(String),
      called_at: expect.any(String),
      operation: 'pair',
      payload_protocol: 'ocpp2.0.1',
      request_id: cpo.received[0]?.headers['x-request-id'],
      duration_ms: expect.any(Number),
      outcome,
      ...said,
    });
  });

  test('is listed when nobody listens, and when the address must not be called', async () => {
    const cpo = await startCpo(service, () => undefined);
    await cpo.down();
    expect((await service.redeem(cpo, '1')).status).toBe(502);
    await listed(cpo, 1);
    await sql(`update cpos set base_url = 'https://10.0.0.1' where id = $1`, [cpo.id]);
    expect((await service.redeem(cpo, '1')).status).toBe(502);
    expect((await listed(cpo, 2)).map(({ outcome }) => outcome)).toEqual(['forbidden-address', 'unreachable']);
  });

  test('is not listed when it was not made, because the circuit is open', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
    for (let i = 0; i < 10; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
    expect((await service.redeem(cpo, '1')).status).toBe(503);
    await listed(cpo, 10);
    expect(cpo.received).toHaveLength(10);
  });

  test.each([
    [40, 80],
    [80, 100],
  ])('has every validation error, a hundred at most: %i EVSEs without members', async (count, errors) => {
    const evses = Array.from({ length: count }, () => ({}));
    const cpo = await startCpo(service, (res) => sendJson(res, 200, { charging_station: { ...aStation(), evses } }));
    await service.redeem(cpo, '1');
    // The CPO is then notified of an unpair, which is a call, too.
    const pair = (answer: { body: { items: any[] } }) =>
      answer.body.items.find(({ operation }) => operation === 'pair');
    const answer = await until(pair, () => list(cpo));
    expect(pair(answer).errors).toHaveLength(errors);
  });

  test('never has the code, a token, a uid or a value of the answer, wherever the CPO puts them', async () => {
    const code = '362821';
    const cpo = await startCpo(service, () => undefined);
    const uid = `secret-${randomUUID()}`;
    const secrets = [code, cpo.outboundToken, uid, 'a-value'];
    const evse = aStation().evses[0];
    const bodies = [
      ...secrets.flatMap((secret) => [
        { charging_station: { ...aStation(uid), evses: [{ ...evse, evse_id: secret }] } },
        { charging_station: { ...aStation(uid), evses: secret }, [secret]: '\0' },
        {
          charging_station: {
            ...aStation(uid),
            evses: [{ ...evse, connectors: [{ id: secret, power_type: secret }] }],
          },
        },
        { [secret]: secret },
        secret,
      ]),
      { charging_station: { ...aStation(uid), evses: [evse, evse] } },
    ].map((body) => JSON.stringify(body));
    const raw = secrets.flatMap((secret) => [`{"${secret}": ${secret}`, `{"${secret}":{"${secret}":"\\ud800"}}`]);
    for (const body of [...bodies, ...raw]) {
      cpo.answer = (res) => res.writeHead(200, { 'content-type': 'application/json' }).end(body);
      expect((await service.redeem(cpo, code)).status).toBe(502);
    }
    cpo.answer = (res) => res.writeHead(200, { 'content-type': code, 'content-encoding': cpo.outboundToken }).end();
    expect((await service.redeem(cpo, code)).status).toBe(502);
    const count = bodies.length + raw.length + 1;
    await untilSo(
      async () => (await sql(`select from calls where cpo_id = $1 and operation = 'pair'`, [cpo.id])).length === count,
      10_000,
    );
    const kept = JSON.stringify(await sql('select outcome, status, errors from calls where cpo_id = $1', [cpo.id]));
    for (const secret of secrets) expect(kept).not.toContain(secret);
    expect(kept).toContain('invalid-answer');
  });

  test('is seen by that CPO alone', async () => {
    const [cpo, other] = [await startCpo(service, (res) => sendJson(res, 404, {})), await service.cpo()];
    await service.redeem(cpo, '1');
    const [{ request_id }] = await listed(cpo, 1);
    for (const query of [{}, { request_id }] as Record<string, string>[])
      expect((await list(other, query)).body).toEqual({ items: [], next_cursor: null, waiting: [] });
    for (const token of [service.appToken, service.ingestToken]) expect((await list({ token })).status).toBe(403);
  });

  test('can be filtered by its request id, and comes in pages', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 404, {}));
    for (let i = 0; i < 3; i++) await service.redeem(cpo, '1');
    const items = await listed(cpo, 3);
    expect((await list(cpo, { request_id: items[1].request_id })).body.items).toEqual([items[1]]);
    expect((await list(cpo, { request_id: `${items[1].request_id}%` })).status).toBe(400);
    expect((await list(cpo, 'request_id=%00')).status).toBe(400);
    const first = (await list(cpo, { limit: '2' })).body;
    const second = (await list(cpo, { limit: '2', cursor: first.next_cursor })).body;
    expect([...first.items, ...second.items]).toEqual(items);
    expect(second.next_cursor).toBeNull();
  });

  test('is not listed after 7 days, although it has not been deleted yet', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 404, {}));
    for (let i = 0; i < 2; i++) await service.redeem(cpo, '1');
    const [, { id }] = await listed(cpo, 2);
    await sql(`update calls set called_at = now() - interval '7 days 1 minute' where id = $1`, [id]);
    await listed(cpo, 1);
  });
});

describe('what waits for a CPO', () => {
  const unpaired = async (cpo: Awaited<ReturnType<typeof startCpo>>, user_id = randomUUID() as string) => {
    const uid = `S-${randomUUID()}`;
    const { code } = await service.code({ user_id });
    expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
    expect((await service.unpairAsApp(uid)).status).toBe(200);
    return uid;
  };

  test('is listed until the CPO has acknowledged it, with each attempt under an id of its own', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 503, {}));
    const uid = await unpaired(cpo);
    const items = await until(
      (answer) => answer.body.items?.length >= 2,
      () => list(cpo),
    );
    const [second, first] = items.body.items.slice(-2);
    expect([first.outcome, first.status, second.outcome]).toEqual(['rejected', 503, 'rejected']);
    expect(first.request_id).not.toBe(second.request_id);
    expect(items.body.waiting).toEqual([
      {
        operation: 'unpair',
        payload_protocol: 'ocpp2.0.1',
        uid,
        since: expect.any(String),
        attempts: expect.any(Number),
        next_attempt_at: expect.any(String),
      },
    ]);
    expect(cpo.received.slice(0, 2).map(({ headers }) => headers['x-request-id'])).toEqual([
      first.request_id,
      second.request_id,
    ]);
    cpo.answer = (res) => sendJson(res, 410, {});
    await until(
      ({ body }) => body.waiting?.length === 0,
      () => list(cpo),
    );
    const { body } = await until(
      ({ body }) => body.items[0].status === 410,
      () => list(cpo),
    );
    expect([body.items[0].outcome, body.waiting]).toEqual(['answered', []]);
  });

  test('has no uid of a user who was forgotten, is a hundred at most, and is that of this CPO', async () => {
    const [cpo, other] = [await startCpo(service, () => undefined), await service.cpo()];
    const user = randomUUID();
    await unpaired(cpo, user);
    expect((await list(cpo)).body.waiting[0]).toHaveProperty('uid');
    expect((await service.request('DELETE', `/v1/app/users/${user}`, { token: service.appToken })).status).toBe(204);
    expect((await list(cpo)).body.waiting).toHaveLength(1);
    expect((await list(cpo)).body.waiting[0]).not.toHaveProperty('uid');
    await sql(
      `insert into outbox (cpo_id, payload_protocol, uid, next_attempt_at)
       select $1, 'ocpp2.0.1', 'S-' || i, now() + interval '1 day' from generate_series(1, 150) i`,
      [cpo.id],
    );
    expect((await list(cpo)).body.waiting).toHaveLength(100);
    expect((await list(other)).body.waiting).toEqual([]);
    await sql('delete from outbox where cpo_id = $1', [cpo.id]);
  });
});

describe('recording a call', () => {
  const origin = { requestId: random.requestId(), trace: newSpan(random, undefined) };
  const call = (cpoId: string) => ({
    id: random.uuid(),
    cpoId,
    operation: 'pair' as const,
    payloadProtocol: 'ocpp2.0.1',
    requestId: random.requestId(),
    status: 200,
    durationMs: 1_500.7,
    outcome: 'answered' as const,
    errors: [],
  });

  test('keeps no more than a thousand while the database does not answer, and logs the others', async () => {
    const { log, waitFor, lines } = recordedLog();
    const cpo = await service.cpo();
    const client = await service.sql.connect();
    await client.query('begin; lock table calls in exclusive mode');
    const calls = new RecordCalls({ db: service.db, log, metrics: createMetrics(log) });
    for (let i = 0; i < 1_001; i++) calls.add(call(cpo.id), origin);
    expect(await waitFor(({ message }) => message === 'call to a CPO not stored')).toMatchObject({
      level: 'warn',
      reason: 'too many at once',
      call_request_id: expect.any(String),
    });
    await client.query('commit');
    client.release();
    await calls.stop();
    expect(lines.filter(({ message }) => /not stored/.test(message))).toHaveLength(1);
    expect(await sql('select count(*)::int from calls where cpo_id = $1', [cpo.id])).toEqual([{ count: 1_000 }]);
  });

  test('one that cannot be stored does not take others with it', async () => {
    const { log, waitFor } = recordedLog();
    const cpo = await service.cpo();
    const calls = new RecordCalls({ db: service.db, log, metrics: createMetrics(log) });
    const unknown = call(randomUUID());
    const good = Array.from({ length: 5 }, () => call(cpo.id));
    for (const one of [...good, unknown, ...good.map((one) => ({ ...one, id: random.uuid() }))]) calls.add(one, origin);
    await calls.stop();
    await waitFor(
      ({ message, call_request_id }) => /not stored/.test(message) && call_request_id === unknown.requestId,
    );
    expect(await listed(cpo, 10)).toContainEqual(expect.objectContaining({ duration_ms: 1_501 }));
  });

  test('neither delays nor fails the answer to the app', async () => {
    const cpo = await startCpo(service, answerStation());
    const client = await service.sql.connect();
    await client.query('begin; lock table calls in exclusive mode');
    expect((await service.redeem(cpo, '1')).status).toBe(201);
    expect(await sql('select from calls where cpo_id = $1', [cpo.id])).toEqual([]);
    await client.query('commit');
    client.release();
    await listed(cpo, 1);
  });

  test('when the database goes away during a call, the call is logged as not stored, and later calls are stored', async () => {
    const { service: behind, proxy, stop } = await startBehindProxy(SETTINGS);
    try {
      const cpo = await startCpo(behind, (res) => void proxy.down().then(() => sendJson(res, 404, {})));
      // The 503 when the listener has noticed: the token could not be checked again.
      expect([404, 503]).toContain((await behind.redeem(cpo, '1')).status);
      const lost = await behind.log.waitFor(({ message }) => message === 'call to a CPO not stored');
      expect(lost).toMatchObject({ cpo_id: cpo.id, call_request_id: cpo.received[0]?.headers['x-request-id'] });
      await proxy.up();
      expect((await untilStatus(200, () => behind.request('GET', '/ready'))).status).toBe(200);
      cpo.answer = (res) => sendJson(res, 404, {});
      expect((await untilStatus(404, () => behind.redeem(cpo, '1'))).status).toBe(404);
      const { body } = await until(
        (answer) => answer.body.items?.length > 0,
        () => list(cpo, {}, behind),
      );
      expect(body.items).toHaveLength(1);
    } finally {
      await stop();
    }
  });
});
