import { randomUUID } from 'node:crypto';
import { LEASE_SECONDS } from '../../src/pairing/idempotency';
import { aStation, createTestDatabase, type Harness, SECRET_KEY, startHarness, type TestCpo } from '../harness/harness';
import { startProxy } from '../harness/tcp-proxy';
import { untilSo } from '../harness/until';

let service: Harness;
let replica: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness();
  replica = await startHarness({}, { databaseUrl: service.databaseUrl });
  cpo = await service.cpo();
});
afterAll(async () => {
  await replica.stop();
  await service.stop();
});

const send = (key: string, body: unknown, { by = service, as = cpo, protocol = 'ocpp2.0.1' } = {}) =>
  by.request('POST', `/v1/scsp/${protocol}/pair`, { token: as.token, body, headers: { 'Idempotency-Key': key } });
const isReserved = (key: string) =>
  untilSo(async () => (await service.sql.query('select from idempotency_keys where key = $1', [key])).rowCount === 1);
const request = async (code?: string) => ({ code: code ?? (await service.code()).code, charging_station: aStation() });

test('the same request under the same key gets the same answer, on every replica, and is done once', async () => {
  const key = randomUUID();
  const body = await request();
  const first = await send(key, body);
  expect(first.status).toBe(200);
  expect(first.headers.get('Idempotent-Replayed')).toBe(null);
  for (const by of [service, replica]) {
    const again = await send(key, body, { by });
    expect([again.status, again.body]).toEqual([200, first.body]);
    expect(again.headers.get('Idempotent-Replayed')).toBe('true');
  }
  expect((await send(`"${key}"`, body)).status).toBe(200);
  expect((await service.pair(cpo, body.code, body.charging_station)).status).toBe(409);
  const { rows } = await service.sql.query('select count(*)::int as n from pairings where station_uid = $1', [
    body.charging_station.uid,
  ]);
  expect(rows).toEqual([{ n: 1 }]);
});

test('404 and 409 are kept whole, with the id of the first request, and count as one try', async () => {
  const wrong = await request('00000000');
  const key = randomUUID();
  const first = await send(key, wrong);
  expect(first.status).toBe(404);
  for (let i = 0; i < 10; i++) expect((await send(key, wrong)).body).toEqual(first.body);
  const paired = await request();
  await service.pair(cpo, paired.code, paired.charging_station);
  const conflict = { ...(await request()), charging_station: paired.charging_station };
  const refused = await send(randomUUID(), conflict);
  expect(refused.status).toBe(409);
});

test('the replay survives an unpair', async () => {
  const key = randomUUID();
  const body = await request();
  const first = await send(key, body);
  await service.unpairAsCpo(cpo, body.charging_station.uid);
  expect((await send(key, body)).body).toEqual(first.body);
});

test('another body under the same key is refused', async () => {
  const key = randomUUID();
  await send(key, await request());
  const other = await send(key, await request());
  expect([other.status, other.body.type]).toEqual([422, '/problems/idempotency-key-reused']);
});

test('a key counts for its CPO and path alone', async () => {
  const key = randomUUID();
  expect((await send(key, await request())).status).toBe(200);
  expect((await send(key, await request(), { as: await service.cpo() })).status).toBe(200);
  expect((await send(key, await request(), { protocol: 'ocpp1.6' })).status).toBe(200);
});

test('while the first is in flight others get idempotency-in-progress, and exactly one is done', async () => {
  const key = randomUUID();
  const body = await request();
  const unlock = await service.lockCounter(cpo);
  const first = send(key, body);
  await isReserved(key);
  const second = await send(key, body, { by: replica });
  expect([second.status, second.body.type]).toEqual([409, '/problems/idempotency-in-progress']);
  expect(Number(second.headers.get('Retry-After'))).toBeGreaterThan(0);
  await unlock();
  expect((await first).status).toBe(200);
  expect((await send(key, body, { by: replica })).status).toBe(200);
});

test('of fifty at once one is done, and the others get its response or idempotency-in-progress', async () => {
  const key = randomUUID();
  const body = await request();
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => send(key, body, { by: i % 2 ? service : replica })),
  );
  for (const { status, body: answer } of answers)
    expect([200, 'idempotency-in-progress']).toContain(status === 409 ? answer.type.replace('/problems/', '') : status);
  expect(answers.filter(({ status, headers }) => status === 200 && !headers.has('Idempotent-Replayed'))).toHaveLength(
    1,
  );
});

test('answers that are not kept free the key', async () => {
  const other = await service.cpo();
  const uid = randomUUID();
  for (let i = 0; i < 5; i++) await service.pair(other, `0000000${i}`, aStation(uid));
  const key = randomUUID();
  const body = { ...(await request()), charging_station: aStation(uid) };
  expect((await send(key, body, { as: other })).status).toBe(429);
  expect((await send(key, { code: 1 }, { as: other })).status).toBe(400);
  expect((await send(key, await request(), { as: other })).status).toBe(200);
});

test.each(['x'.repeat(256), `"${'x'.repeat(256)}"`, '""', '"', 'a"b', '\u00e9'])('%j is no key', async (key) => {
  const answer = await send(key, await request());
  expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, '/idempotency-key']);
});

test('after 24 hours a key is new', async () => {
  const key = randomUUID();
  await send(key, await request());
  await service.sql.query(
    `update idempotency_keys set created_at = now() - interval '24 hours 1 second' where key = $1`,
    [key],
  );
  expect((await send(key, await request())).status).toBe(200);
});

test('a key whose request died in the middle is free for the same request when its lease is over', async () => {
  const key = randomUUID();
  const body = await request();
  await send(key, { ...body, code: '00000000' });
  await service.sql.query('update idempotency_keys set outcome = null where key = $1', [key]);
  expect((await send(key, { ...body, code: '00000000' })).status).toBe(409);
  await service.sql.query('update idempotency_keys set lease_until = now() where key = $1', [key]);
  expect((await send(key, body)).status).toBe(422);
  expect((await send(key, { ...body, code: '00000000' })).status).toBe(404);
});

test('a request that is late, after its key was taken over, changes nothing: the first stored response stays', async () => {
  const key = randomUUID();
  const body = await request();
  const unlock = await service.lockCounter(cpo);
  const late = send(key, body);
  await isReserved(key);
  await service.sql.query('update idempotency_keys set lease_until = now() where key = $1', [key]);
  const taken = send(key, body, { by: replica });
  await untilSo(
    async () =>
      (await service.sql.query('select from idempotency_keys where key = $1 and lease_until > now()', [key]))
        .rowCount === 1,
  );
  await unlock();
  expect((await taken).status).toBe(200);
  expect([(await late).status, (await late).body.type]).toEqual([409, '/problems/idempotency-in-progress']);
  for (let i = 0; i < 2; i++) expect((await send(key, body)).status).toBe(200);
});

test('a key is held for longer than any request lasts', () => {
  // A place in the queue and a statement, a CPO's answer, and once more a statement.
  expect(LEASE_SECONDS).toBeGreaterThan(5 + 10 + 5);
});

test('after a change of SECRET_KEY the same body is still the same', async () => {
  const key = randomUUID();
  const body = await request();
  expect((await send(key, body)).status).toBe(200);
  const rotated = await startHarness(
    { SECRET_KEY: 'another secret key that only this test knows', SECRET_KEY_PREVIOUS: SECRET_KEY },
    { databaseUrl: service.databaseUrl },
  );
  const again = await send(key, body, { by: rotated });
  expect([again.status, again.headers.get('Idempotent-Replayed')]).toEqual([200, 'true']);
  expect((await send(key, await request(), { by: rotated })).status).toBe(422);
  await rotated.stop();
});

test('a body is stored as a keyed hash: without the key nobody can try which code it has', async () => {
  const key = randomUUID();
  const body = await request();
  expect((await send(key, body)).status).toBe(200);
  const stranger = await startHarness(
    { SECRET_KEY: 'a key that has nothing to do with the other one' },
    { databaseUrl: service.databaseUrl },
  );
  expect((await send(key, body, { by: stranger })).status).toBe(422);
  await stranger.stop();
});

test('a pairing whose answer was lost between commit and caller is answered to the retry', async () => {
  const database = await createTestDatabase();
  const proxy = await startProxy(database.url);
  const behind = await startHarness({}, { databaseUrl: proxy.url });
  const direct = await startHarness({}, { databaseUrl: database.url });
  const owner = await behind.cpo();
  const body = { code: (await behind.code()).code, charging_station: aStation() };
  const key = randomUUID();
  // The statement gets through, its answer does not.
  proxy.swallowAnswersTo(body.charging_station.uid);
  const lost = await behind.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: owner.token,
    body,
    headers: { 'Idempotency-Key': key },
  });
  expect(lost.status).toBe(503);
  const retry = await direct.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: owner.token,
    body,
    headers: { 'Idempotency-Key': key },
  });
  expect([retry.status, retry.headers.get('Idempotent-Replayed')]).toEqual([200, 'true']);
  await proxy.up();
  await behind.stop();
  await direct.stop();
  await proxy.stop();
  await database.drop();
});
