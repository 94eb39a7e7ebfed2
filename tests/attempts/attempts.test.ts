import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { RefusedAttempts } from '../../src/attempts/refused-attempts';
import { newSpan } from '../../src/contract/trace-context';
import { random } from '../../src/crypto/random';
import { createMetrics } from '../../src/metrics/metrics';
import { Problem } from '../../src/problems';
import { protocols } from '../../src/protocols';
import {
  type Answer,
  anIncorrectCode,
  aStation,
  type Harness,
  recordedLog,
  startHarness,
  type TestCpo,
} from '../harness/harness';
import { until, untilRefused, untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const PATH = '/v1/scsp/ocpp2.0.1/pair';
const list = (cpo: TestCpo, query = '', at = service) =>
  at.request('GET', `/v1/scsp/attempts${query}`, { token: cpo.token });
const send = (cpo: TestCpo, body: unknown, path = PATH, at = service) =>
  at.request('POST', path, { token: cpo.token, body });
const sendRaw = (cpo: TestCpo, raw: string, headers: Record<string, string> = {}) =>
  service.request('POST', PATH, { token: cpo.token, raw, headers });
const stored = async (cpo: TestCpo) =>
  (await service.sql.query('select * from attempts where cpo_id = $1 order by id', [cpo.id])).rows;

/** The attempts of a CPO, asked for until there are so many: a refused one is stored after its answer is out. */
async function listed(cpo: TestCpo, count: number): Promise<any[]> {
  const { status, body } = await until(
    (answer) => answer.body.items?.length >= count,
    () => list(cpo),
    10_000,
  );
  expect(status).toBe(200);
  return body.items;
}

/** Holds back everything that would write an attempt, until it is let go. */
async function holdBack() {
  const client = await service.sql.connect();
  await client.query('begin; lock table attempts in exclusive mode');
  return async () => {
    await client.query('commit');
    client.release();
  };
}

describe('what a CPO has sent to pair', () => {
  test('is listed with what became of it, the latest first', async () => {
    const cpo = await service.cpo();
    const station = aStation();
    const { code } = await service.code();
    const steps = [
      [await send(cpo, { code: anIncorrectCode(), charging_station: station }), 'incorrect-code', 404],
      [await service.pair(cpo, code, station), 'paired', 200],
      [await service.pair(cpo, (await service.code()).code, station), 'station-already-paired', 409],
    ] as const;
    const items = await listed(cpo, steps.length);
    expect(items.toReversed()).toEqual(
      steps.map(([answer, outcome, status]) => ({
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        attempted_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        request_id: answer.headers.get('X-Request-ID'),
        payload_protocol: 'ocpp2.0.1',
        uid: station.uid,
        outcome,
        status,
      })),
    );
    for (const [answer, , status] of steps) expect(answer.status).toBe(status);
  });

  const evses = [{ ...aStation().evses[0], evse_id: 'x' }];
  const OCPI = '/v1/scsp/ocpi2.2.1/pair';
  test.each<[string, number, object, (cpo: TestCpo) => Promise<Answer>]>([
    [
      'invalid-request',
      400,
      { uid: 'the uid', detail: '/charging_station/evses/0/evse_id must be an integer' },
      (cpo) => send(cpo, { code: '1', charging_station: { uid: 'the uid', evses } }),
    ],
    [
      'invalid-request',
      400,
      { uid: 'an EVSE', payload_protocol: 'ocpi2.2.1', detail: '/code is required; /evse/connectors is required' },
      (cpo) => send(cpo, { evse: { uid: 'an EVSE' } }, OCPI),
    ],
    [
      'invalid-request',
      400,
      { detail: '/charging_station/uid must be a string' },
      (cpo) => send(cpo, { code: '1', charging_station: { ...aStation(), uid: true } }),
    ],
    [
      'malformed-request',
      400,
      { detail: expect.stringMatching(/^is not valid JSON at line 1, column 8: /) },
      (cpo) => sendRaw(cpo, '{"a": 1'),
    ],
    [
      'unsupported-protocol',
      400,
      {
        uid: 'the uid',
        payload_protocol: 'unknown',
        detail: `/payload-protocol must be one of ${Object.keys(protocols).join(', ')}`,
      },
      (cpo) => send(cpo, { code: '1', charging_station: aStation('the uid') }, '/v1/scsp/ocpp%2F9/pair'),
    ],
    [
      'body-too-large',
      413,
      { detail: 'The body is larger than 65536 bytes.' },
      (cpo) => sendRaw(cpo, ' '.repeat(65_537)),
    ],
    [
      'unsupported-media-type',
      415,
      { detail: 'The body must not be compressed: leave Content-Encoding out.' },
      (cpo) => sendRaw(cpo, '{}', { 'Content-Encoding': 'gzip' }),
    ],
  ])('is listed when it is refused before its code is looked at: %s, %i, %j', async (outcome, status, said, ask) => {
    const cpo = await service.cpo();
    const { status: answered, body } = await ask(cpo);
    expect([answered, body.type]).toEqual([status, `/problems/${outcome}`]);
    expect(await listed(cpo, 1)).toEqual([
      {
        id: expect.any(String),
        attempted_at: expect.any(String),
        request_id: body.request_id,
        payload_protocol: 'ocpp2.0.1',
        outcome,
        status,
        ...said,
      },
    ]);
  });

  test('has no uid that repeats a code, which may still be active', async () => {
    const [owner, cpo] = [await service.cpo(), await service.cpo()];
    const { code } = await service.code({ cpo_id: owner.id });
    expect((await service.pair(cpo, code, aStation(code))).status).toBe(404);
    const [item] = await listed(cpo, 1);
    expect([item.outcome, item.uid]).toEqual(['incorrect-code', undefined]);
    expect((await service.pair(owner, code, aStation(code))).status).toBe(200);
    expect((await listed(owner, 1))[0].uid).toBe(code);
  });

  test('is cut where it is long', async () => {
    const cpo = await service.cpo();
    await send(cpo, { code: '1', charging_station: { ...aStation(), evses: Array.from({ length: 50 }, () => ({})) } });
    const [item] = await listed(cpo, 1);
    expect(item.detail.length).toBeLessThanOrEqual(500);
    const [, more] = / is required; and (\d+) more$/.exec(item.detail)!;
    expect(item.detail.split('; ')).toHaveLength(100 - Number(more) + 1);
  });

  test.each(['u'.repeat(49), 'a uid 🔌', ''])('has no uid where what was sent cannot be one: %j', async (uid) => {
    const cpo = await service.cpo();
    await send(cpo, { code: '1', charging_station: { ...aStation(), uid } });
    expect((await listed(cpo, 1))[0].uid).toBeUndefined();
  });

  const text = (json: string): [string, string] => [json, PATH];
  test.each([
    text('{"code":362821,"charging_station":{}}'),
    text('{"code":["362821"],"charging_station":"362 821"}'),
    text('{"code":"x","charging_station":362821}'),
    text('{"code":"x","charging_station":{"uid":362821}}'),
    text('{"code":"362821","charging_station":{"uid":"362 821"}}'),
    text('{"code":"x","charging_station":{"uid":"362821 or so, says the customer, who typed it twice"}}'),
    text('{"code":"x","charging_station":{"evses":[{"connectors":[{"power_type":"code 362821"}]}]}}'),
    text('{"362821":1}'),
    text('{"362821":"\\u0000"}'),
    text('{"code":"x","362821":{"a":["\\ud800"]}}'),
    text(`{"362821":${'['.repeat(70)}${']'.repeat(70)}}`),
    text('"362821"'),
    text('362821'),
    text('{"code":362821'),
    text('{"code": 0362821}'),
    ['{"code":"362821"}', '/v1/scsp/362821/pair'],
    ['{"code":"362821"}', '/v1/scsp/ocpp362821/pair'],
  ])('never holds a code, wherever it was sent: %s to %s', async (raw, path) => {
    const cpo = await service.cpo();
    const from = service.log.lines.length;
    const answer = await service.request('POST', path, { token: cpo.token, raw });
    expect(answer.status).toBe(400);
    const [item] = await listed(cpo, 1);
    expect(item.detail).toMatch(/must|is required|is not valid|is nested|has a member|contains/);
    const kept = JSON.stringify([(await stored(cpo))[0].uid, item.payload_protocol, item.detail, item.uid]);
    // Times and random ids may have these digits.
    const said = (field: string, value: unknown) => (/^timestamp$|_id$/.test(field) ? undefined : value);
    const logged = JSON.stringify(service.log.lines.slice(from), said);
    for (const place of [kept, logged]) expect(place.replace(/[^0-9a-z]/gi, '')).not.toContain('362821');
  });

  test.each([
    ['another body under a key', 422, 'idempotency-key-reused', 'true'],
    ['a request under a key that is in progress', 409, 'idempotency-in-progress', 'false'],
  ])('has %s', async (_what, status, outcome, finished) => {
    const cpo = await service.cpo();
    const withKey = (body: unknown) =>
      service.request('POST', PATH, { token: cpo.token, body, headers: { 'Idempotency-Key': 'a-key' } });
    const body = { code: anIncorrectCode(), charging_station: aStation() };
    expect((await withKey(body)).status).toBe(404);
    if (finished === 'false')
      await service.sql.query(
        `update idempotency_keys set outcome = null, lease_until = now() + interval '1 minute' where cpo_id = $1`,
        [cpo.id],
      );
    const answer = await withKey(finished === 'true' ? { ...body, code: '1' } : body);
    expect([answer.status, answer.body.type]).toEqual([status, `/problems/${outcome}`]);
    expect((await listed(cpo, 2))[0]).toMatchObject({ outcome, status, uid: body.charging_station.uid });
  });

  test('is seen by that CPO alone', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    await send(cpo, {});
    await listed(cpo, 1);
    expect((await list(other)).body).toEqual({ items: [], next_cursor: null });
    expect((await service.request('GET', '/v1/scsp/attempts', { token: service.appToken })).status).toBe(403);
  });

  test('comes in pages that stay as they are when attempts are added', async () => {
    const cpo = await service.cpo();
    for (const uid of ['a', 'b', 'c']) await send(cpo, { code: anIncorrectCode(), charging_station: aStation(uid) });
    await listed(cpo, 3);
    const first = (await list(cpo, '?limit=2')).body;
    await send(cpo, { code: anIncorrectCode(), charging_station: aStation('d') });
    const second = (await list(cpo, `?limit=2&cursor=${first.next_cursor}`)).body;
    expect([...first.items, ...second.items].map(({ uid }: any) => uid)).toEqual(['c', 'b', 'a']);
    expect(second.next_cursor).toBeNull();
    for (const cursor of ['x', Buffer.from('x').toString('base64url')]) {
      const { status, body } = await list(cpo, `?cursor=${cursor}`);
      expect([status, body.errors]).toEqual([
        400,
        [{ pointer: '/cursor', message: 'must be a next_cursor of this list' }],
      ]);
    }
  });
});

describe('storing a refused attempt', () => {
  test('is not waited for by its answer', async () => {
    const cpo = await service.cpo();
    const letGo = await holdBack();
    const answers = await Promise.all(Array.from({ length: 10 }, () => send(cpo, {})));
    expect(await stored(cpo)).toEqual([]);
    await letGo();
    for (const { status } of answers) expect(status).toBe(400);
    expect(await listed(cpo, 10)).toHaveLength(10);
  });

  test('that fails is logged without what was sent, and costs no answer', async () => {
    const cpo = await service.cpo();
    await service.sql.query('alter table attempts rename column detail to elsewhere');
    const answer = await send(cpo, { charging_station: { uid: 'not-in-the-log' } });
    const line = await service.log.waitFor(
      ({ message, request_id }) => message === 'refused attempt not stored' && request_id === answer.body.request_id,
    );
    await service.sql.query('alter table attempts rename column elsewhere to detail');
    expect([answer.status, line.level]).toEqual([400, 'warn']);
    expect(JSON.stringify(line)).not.toContain('not-in-the-log');
    await send(cpo, {});
    expect(await listed(cpo, 1)).toHaveLength(1);
  });

  test('is given up, and logged, for what comes beyond a thousand at once', async () => {
    const cpo = await service.cpo();
    const log = recordedLog();
    const attempts = new RefusedAttempts({
      db: service.db,
      random,
      log: log.log,
      metrics: createMetrics(log.log),
    });
    const refuse = () => {
      const requestId = randomUUID();
      const origin = { requestId, trace: newSpan(random, undefined) };
      const res = Object.assign(new EventEmitter(), {
        locals: { caller: { cpo }, problem: new Problem('malformed-request'), requestId, origin },
      });
      const req = { openapi: { schema: { operationId: 'pairOcpp' } }, path: PATH };
      attempts.watch(req as never, res as never, () => undefined);
      res.emit('close');
    };
    for (let i = 0; i < 1_005; i++) refuse();
    await attempts.stop();
    expect(await stored(cpo)).toHaveLength(1_000);
    expect(log.lines.map(({ message, reason }) => [message, reason])).toEqual(
      Array(5).fill(['refused attempt not stored', 'too many at once']),
    );
    refuse();
    await attempts.stop();
    expect(await stored(cpo)).toHaveLength(1_001);
  });

  test('is waited for when the service stops', async () => {
    const replica = await startHarness({}, { databaseUrl: service.databaseUrl });
    const cpo = await service.cpo();
    const letGo = await holdBack();
    // The first is under way and held back, so the second has not even begun.
    for (let i = 0; i < 2; i++) expect((await send(cpo, {}, PATH, replica)).status).toBe(400);
    const stopped = replica.stop();
    await untilRefused(replica.url);
    // Now it could close the database, too.
    for (let i = 0; i < 100; i++) await service.sql.query('select 1');
    await letGo();
    await stopped;
    expect(await stored(cpo)).toHaveLength(2);
  });

  test('is for requests to pair of a known CPO alone', async () => {
    const [cpo, suspended] = [await service.cpo(), await service.cpo()];
    await service.sql.query('update cpos set suspended_at = now() where id = $1', [suspended.id]);
    await untilSo(async () => (await list(suspended)).status === 403);
    for (const token of [undefined, 'x', service.appToken, suspended.token]) {
      const { status } = await service.request('POST', PATH, { token, body: {} });
      expect([401, 403]).toContain(status);
    }
    expect((await list(cpo, '?limit=0')).status).toBe(400);
    expect((await service.unpairAsCpo(cpo, randomUUID())).status).toBe(404);
    await send(cpo, {});
    expect(await listed(cpo, 1)).toMatchObject([
      { outcome: 'invalid-request', detail: '/code is required; /charging_station is required' },
    ]);
    expect(await stored(suspended)).toEqual([]);
  });
});

test('why a code was incorrect is kept for operators, and shown to no CPO', async () => {
  const [cpo, other] = [await service.cpo(), await service.cpo()];
  const code = async (change = '') => {
    const { id, code } = await service.code();
    if (change) await service.sql.query(`update pairing_codes set ${change} where id = $1`, [id]);
    return code;
  };
  const used = await code();
  expect((await service.pair(other, used)).status).toBe(200);
  const cases = {
    unknown: anIncorrectCode(),
    used,
    cancelled: await code(`status = 'cancelled', ended_at = now()`),
    expired: await code(`expires_at = now() - interval '1 second'`),
    'other-cpo': await code(`cpo_id = '${other.id}'`),
  };
  for (const typed of Object.values(cases)) expect((await service.pair(cpo, typed)).status).toBe(404);
  const { rows } = await service.sql.query('select reason from attempts where cpo_id = $1 order by id', [cpo.id]);
  expect(rows.map(({ reason }) => reason)).toEqual(Object.keys(cases));
  const { body } = await service.request('GET', '/v1/scsp/attempts', { token: cpo.token });
  for (const item of body.items) expect(item).not.toHaveProperty('reason');
});
