import { randomUUID } from 'node:crypto';
import { startApp } from '../harness/an-app';
import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { pairBy, signUp, uidsOf } from '../harness/self-service';
import { untilSo } from '../harness/until';

// What strangers do in a sandbox stays with them: no app, no event, no other CPO sees it.

let service: Harness;
let mine: TestCpo;
let theirs: TestCpo;
let operators: TestCpo;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' }, { testCodes: { lateMs: 1, withheldMs: 1 } });
  [mine, theirs, operators] = [await signUp(service), await signUp(service), await service.cpo()];
});
afterAll(() => service.stop());

const app = (method: string, path: string, body?: unknown) =>
  service.request(method, path, { token: service.appToken, ...(body !== undefined && { body }) });
const aUid = () => `uid-${randomUUID()}`;

/** Every event of the feed, once all that were committed before are published. */
async function events(): Promise<{ type: string; data: { uid?: string; cpo_id?: string; pairing_id?: string } }[]> {
  await untilSo(async () => {
    const { rows } = await service.sql.query('select from events where position is null and seq is not null');
    return rows.length === 0;
  });
  return (await app('GET', '/v1/events?limit=500')).body.items;
}

test('a uid is unique within a self-service CPO, and among all others', async () => {
  const uid = aUid();
  for (const cpo of [mine, theirs, operators]) expect((await pairBy(service, cpo, '100001', { uid })).status).toBe(200);
  const { code } = await service.code();
  expect((await service.pair(await service.cpo(), code, aStation(uid))).status).toBe(409);
  for (const cpo of [mine, theirs]) expect(await uidsOf(service, cpo)).toEqual([uid]);
  expect((await service.unpairAsCpo(mine, uid)).status).toBe(200);
  expect([await uidsOf(service, mine), await uidsOf(service, theirs)]).toEqual([[], [uid]]);
  expect((await service.unpairAsCpo(theirs, uid)).status).toBe(200);
  expect((await service.unpairAsCpo(theirs, uid)).status).toBe(404);
  expect(await uidsOf(service, operators)).toEqual([uid]);
});

test('apps do not see the stations of test customers, nor end their pairings', async () => {
  const uid = aUid();
  await pairBy(service, mine, '100002', { uid });
  await pairBy(service, operators, '100002', { uid: `${uid}-o` });
  const paths = [uid, `${mine.id}\n${uid}`, `${uid}-o`].map((one) => encodeURIComponent(one));
  for (const path of paths) {
    expect((await app('GET', `/v1/app/charging-stations/${path}`)).status).toBe(404);
    expect((await app('POST', `/v1/app/charging-stations/${path}/unpair`)).status).toBe(404);
    for (const { id } of [mine, operators])
      expect((await app('GET', `/v1/links?uid=${path}&cpo_id=${id}`)).status).not.toBe(200);
  }
  const { body } = await app('POST', '/v1/links/resolve', {
    links: [
      { uid, cpo_id: mine.id },
      { uid: `${uid}-o`, cpo_id: operators.id },
    ],
  });
  expect(body.links).toEqual([null, null]);
  const snapshot = await app('GET', '/v1/links?limit=1000');
  expect(JSON.stringify(snapshot.body)).not.toContain(uid);
  expect(await uidsOf(service, mine)).toContain(uid);
  expect(await uidsOf(service, operators)).toContain(`${uid}-o`);
});

test('no event tells of them, in the feed or by webhook', async () => {
  const receiver = await startApp(service);
  await receiver.endpoint({ url: 'http://127.0.0.1:9/' });
  const uid = aUid();
  for (const cpo of [mine, operators]) {
    await pairBy(service, cpo, '100003', { uid });
    await pairBy(service, cpo, '100004', { uid });
    await service.unpairAsCpo(cpo, uid);
  }
  const { code } = await service.code();
  await service.pair(operators, code, aStation(`${uid}-real`));
  const real = (await events()).filter(({ data }) => data.cpo_id === operators.id || data.cpo_id === mine.id);
  expect(real.map(({ type, data }) => [type, data.uid])).toEqual([['station.paired', `${uid}-real`]]);
  const { rows } = await service.sql.query('select from events where cpo_id = $1', [mine.id]);
  expect(rows).toHaveLength(0);
});

test("an app's code is not known to a self-service CPO, which cannot use it up", async () => {
  const { code, id } = await service.code();
  expect((await service.pair(mine, code)).body.type).toBe('/problems/incorrect-code');
  expect((await service.followCode(id)).body.status).toBe('active');
  const { rows } = await service.sql.query(`select reason from attempts where cpo_id = $1 and reason is not null`, [
    mine.id,
  ]);
  expect(rows).toEqual([{ reason: 'unknown' }]);
  expect((await service.pair(operators, code)).status).toBe(200);
});

test('apps can choose no self-service CPO', async () => {
  await service.sql.query(`update cpos set base_url = 'https://cpo.example' where id = $1`, [mine.id]);
  expect(JSON.stringify((await app('GET', '/v1/app/cpos')).body)).not.toContain(mine.id);
  const answer = await service.redeem(mine, '1');
  expect([answer.status, answer.body.errors]).toEqual([
    400,
    [{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }],
  ]);
});

test("an app's own code that meets the station of a test customer is told to the app", async () => {
  const uid = aUid();
  await pairBy(service, operators, '100005', { uid });
  const { code, id } = await service.code();
  expect((await service.pair(operators, code, aStation(uid))).status).toBe(409);
  const refused = (await events()).filter(({ data }) => 'code_id' in data && data.code_id === id);
  expect(refused.map(({ data }) => data)).toMatchObject([{ reason: 'station-already-paired', cpo_id: operators.id }]);
  expect(refused[0]?.data.uid).toBeUndefined();
});

test('successes with the test customer raise no limit', async () => {
  for (let i = 0; i < 6; i++) await pairBy(service, theirs, `10010${i}`);
  const { body } = await service.request('GET', '/v1/scsp/me', { token: theirs.token });
  expect(body.limits.map(({ limit }: { limit: number }) => limit)).toEqual([5, 10, 20, 50]);
});
