import { randomUUID } from 'node:crypto';
import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const list = (cpo: TestCpo, query: Record<string, string> = {}) =>
  service.request('GET', `/v1/scsp/charging-stations?${new URLSearchParams(query)}`, { token: cpo.token });

async function pair(cpo: TestCpo, uid: string = randomUUID()): Promise<string> {
  const { code } = await service.code();
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
  return uid;
}
async function pairSeveral(cpo: TestCpo, count: number): Promise<string[]> {
  const uids: string[] = [];
  while (uids.length < count) uids.push(await pair(cpo));
  return uids;
}
const uids = (items: { uid: string }[]) => items.map(({ uid }) => uid);

/** Every page; between the first and the second, something else may happen. */
async function walk(cpo: TestCpo, limit: number, meanwhile = async () => {}): Promise<string[]> {
  const first = await list(cpo, { limit: String(limit) });
  const found = uids(first.body.items);
  await meanwhile();
  for (let cursor = first.body.next_cursor; cursor !== null; ) {
    const { body } = await list(cpo, { limit: String(limit), cursor });
    found.push(...uids(body.items));
    cursor = body.next_cursor;
  }
  return found;
}

test('a CPO lists its own paired stations as it sent them, in the order of pairing', async () => {
  const [cpo, other] = [await service.cpo(), await service.cpo()];
  const upper = await pair(cpo, `Station-${randomUUID()}`.toUpperCase());
  await pair(other);
  const { code } = await service.code();
  const evse = { uid: randomUUID(), connectors: aStation().evses[0]?.connectors };
  const answer = await service.request('POST', '/v1/scsp/ocpi2.2.1/pair', { token: cpo.token, body: { code, evse } });
  expect(answer.status).toBe(200);
  const paired_at = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(await list(cpo)).toMatchObject({
    status: 200,
    body: {
      items: [
        { uid: upper, payload_protocol: 'ocpp2.0.1', paired_at },
        { uid: evse.uid, payload_protocol: 'ocpi2.2.1', paired_at },
      ],
      next_cursor: null,
    },
  });
});

test('one that was unpaired, by whomever, or whose user was forgotten is not listed', async () => {
  const cpo = await service.cpo();
  const [byCpo = '', byApp = '', kept] = await pairSeveral(cpo, 3);
  const user_id = randomUUID();
  const { code } = await service.code({ user_id });
  expect((await service.pair(cpo, code)).status).toBe(200);
  await service.unpairAsCpo(cpo, byCpo);
  await service.unpairAsApp(byApp);
  await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
  expect(uids((await list(cpo)).body.items)).toEqual([kept]);
});

test('a station that stays is listed exactly once while others come and go', async () => {
  const cpo = await service.cpo();
  const stations = await pairSeveral(cpo, 7);
  const gone = [stations[1], stations[2], stations[5]];
  const found = await walk(cpo, 3, async () => {
    for (const uid of gone) await service.unpairAsCpo(cpo, uid ?? '');
    await pair(cpo, stations[1]);
    await pairSeveral(cpo, 2);
  });
  const stayed = stations.filter((uid) => !gone.includes(uid));
  expect(found.filter((uid) => stayed.includes(uid))).toEqual(stayed);
  expect(found).not.toContain(stations[5]);
});

test('a page has 50 stations unless asked for 1 to 1,000, and the last one says so', async () => {
  const cpo = await service.cpo();
  await service.sql.query(
    `with p as (
       insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
       select gen_random_uuid(), $1, gen_random_uuid()::text, 'u', 'l' from generate_series(1, 1001) returning *
     ) insert into stations (pairing_id, uid, payload_protocol) select id, station_uid, 'ocpp1.6' from p`,
    [cpo.id],
  );
  const pages = { '': 50, 'limit=1': 1, 'limit=1000': 1_000 };
  for (const [query, length] of Object.entries(pages)) {
    const { body } = await list(cpo, Object.fromEntries(new URLSearchParams(query)));
    expect([body.items.length, body.next_cursor]).toEqual([length, expect.any(String)]);
  }
  expect(new Set(await walk(cpo, 1_000)).size).toBe(1_001);
  for (const limit of ['0', '1001', '-1', 'all', '1.5']) {
    const { status, body } = await list(cpo, { limit });
    expect([status, body.errors?.[0]?.pointer]).toEqual([400, '/limit']);
  }
});

test('a cursor that is none of this list is refused', async () => {
  const cpo = await service.cpo();
  for (const cursor of ['x', Buffer.from('not an id').toString('base64url'), '%00']) {
    const { status, body } = await list(cpo, { cursor });
    expect([status, body.errors?.[0]?.pointer]).toEqual([400, '/cursor']);
  }
});

test('an app and nobody are refused, and any method but GET', async () => {
  const path = '/v1/scsp/charging-stations';
  expect((await service.request('GET', path)).status).toBe(401);
  expect((await service.request('GET', path, { token: service.appToken })).status).toBe(403);
  const wrong = await service.request('POST', path, { token: service.appToken, body: {} });
  expect([wrong.status, wrong.headers.get('Allow')]).toEqual([405, expect.stringContaining('GET')]);
});
