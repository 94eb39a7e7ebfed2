import { randomUUID } from 'node:crypto';
import { protocols } from '../../src/protocols';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { sayRaw } from '../harness/raw-http';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const get = (path: string) => service.request('GET', path, { token: service.appToken });
const pairFor = async (user_id: string) => {
  const station = aStation();
  await service.pair(cpo, (await service.code({ user_id, charging_location_id: randomUUID() })).code, station);
  return station.uid;
};
const pages = async (path: string, each: () => Promise<unknown> = async () => {}) => {
  const items: any[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: any = (await get(`${path}${cursor && `&cursor=${cursor}`}`)).body;
    items.push(...page.items);
    cursor = page.next_cursor;
    await each();
  }
  return items;
};

test("a user's stations come in pages, the latest first, that stay as they are while stations are added", async () => {
  const user = randomUUID();
  const uids: string[] = [];
  for (let i = 0; i < 7; i++) uids.unshift(await pairFor(user));
  const found = await pages(`/v1/app/charging-stations?user_id=${user}&limit=2`, () => pairFor(user));
  expect(found.map(({ uid }) => uid)).toEqual(uids);
  expect(found[0]).toMatchObject({ user_id: user, cpo_id: cpo.id, charging_station: { uid: uids[0] } });
});

test('a list ends with a null cursor, and is empty for a user without stations', async () => {
  expect((await get('/v1/app/charging-stations?user_id=nobody')).body).toEqual({ items: [], next_cursor: null });
  const user = randomUUID();
  await pairFor(user);
  await pairFor(user);
  expect((await get(`/v1/app/charging-stations?user_id=${user}&limit=2`)).body.next_cursor).toBe(null);
});

test('an unpaired station is nobody’s', async () => {
  const user = randomUUID();
  const uid = await pairFor(user);
  expect((await get(`/v1/app/charging-stations/${uid.toUpperCase()}`)).body).toMatchObject({ uid, user_id: user });
  await service.unpairAsApp(uid);
  const gone = await get(`/v1/app/charging-stations/${uid}`);
  expect([gone.status, gone.body.type]).toEqual([404, '/problems/unknown-station']);
  expect((await get(`/v1/app/charging-stations?user_id=${user}`)).body.items).toEqual([]);
});

describe('a user whose id has characters that are reserved in URLs', () => {
  // By hand: fetch would encode some of them.
  const listRaw = async (query: string) => {
    const authorization = `Authorization: Bearer ${service.appToken}`;
    const head = [`GET /v1/app/charging-stations?${query} HTTP/1.1`, 'Host: x', authorization, 'Connection: close'];
    return (await sayRaw(service.url, `${head.join('\r\n')}\r\n\r\n`))[0];
  };

  test.each([..."'!()*:/?@$,;=[]~"])('%s: is found by a query in which it is not encoded', async (sign) => {
    const user_id = `o${sign}brien@example.com`;
    const uid = await pairFor(user_id);
    for (const query of [`user_id=${user_id}`, `limit=5&user_id=${encodeURIComponent(user_id)}`]) {
      const answer = await listRaw(query);
      expect([answer?.status, answer?.body.items.map((it: any) => it.uid)]).toEqual([200, [uid]]);
    }
  });

  test('a plus sign in a query is a space, as in a form, and an encoded one is itself', async () => {
    const [spaced, plus] = [await pairFor('a b+c'), await pairFor('a+b c')];
    expect((await listRaw('user_id=a+b%2Bc'))?.body.items[0].uid).toBe(spaced);
    expect((await listRaw('user_id=a%2Bb+c'))?.body.items[0].uid).toBe(plus);
  });
});

test.each([
  '.',
  '..',
  '',
  'a\tb',
  'a\u0085',
  'a\u00adb',
  'a\u200bb',
  'a\u202e',
  'a\u2028',
  'a\ue000',
  'a\u0378',
  'x'.repeat(129),
])('a user or location %j is refused in words', async (id) => {
  for (const [name, body] of [
    ['user_id', { user_id: id, charging_location_id: 'home' }],
    ['charging_location_id', { user_id: 'u', charging_location_id: id }],
  ] as const) {
    const answer = await service.request('POST', '/v1/app/pairing-codes', { token: service.appToken, body });
    expect([answer.status, answer.body.errors?.[0].pointer]).toEqual([400, `/${name}`]);
    expect(answer.body.errors[0].message).toMatch(/^must (contain only printable characters|have at (least|most))/);
  }
  const listed = await get(`/v1/app/charging-stations?user_id=${encodeURIComponent(id)}`);
  expect([listed.status, listed.body.errors[0].pointer]).toEqual([400, '/user_id']);
});

test.each(['...', '.a', '..a', 'a.', 'é 漢 🔌', 'x'.repeat(128)])('a user or location %j is taken', async (id) => {
  const body = { user_id: id, charging_location_id: id };
  const answer = await service.request('POST', '/v1/app/pairing-codes', { token: service.appToken, body });
  expect([answer.status, answer.body.user_id]).toEqual([201, id]);
});

test.each([
  ['', '/user_id'],
  ['?user_id=', '/user_id'],
  [`?user_id=${'x'.repeat(129)}`, '/user_id'],
  ['?user_id=u&limit=0', '/limit'],
  ['?user_id=u&limit=101', '/limit'],
  ['?user_id=u&limit=x', '/limit'],
  ['?user_id=u&cursor=nonsense', '/cursor'],
  ['?user_id=u&cursor=%00', '/cursor'],
  [`?user_id=u&cursor=${Buffer.from('x').toString('base64url')}`, '/cursor'],
])('the query %j has a fault at %s', async (query, pointer) => {
  const answer = await get(`/v1/app/charging-stations${query}`);
  expect(answer.status).toBe(400);
  expect(answer.body.errors[0].pointer).toBe(pointer);
});

test('CPOs to choose from have an address and are not suspended, by name and in pages', async () => {
  const names = ['Alpha', 'Beta', 'Gamma', 'Zeta'].map((name) => `${name} ${randomUUID()}`);
  for (const name of names) {
    const { id } = await service.cpo(name);
    if (!name.startsWith('Gamma'))
      await service.sql.query(`update cpos set base_url = 'https://cpo.example' where id = $1`, [id]);
    if (name.startsWith('Beta')) await service.sql.query('update cpos set suspended_at = now() where id = $1', [id]);
  }
  const found = await pages('/v1/app/cpos?limit=1');
  expect(found.map(({ name }) => name)).toEqual([names[0], names[3]]);
  expect(found[0]).toEqual({
    id: expect.any(String),
    name: names[0],
    payload_protocols: Object.keys(protocols),
  });
});
