import { randomUUID } from 'node:crypto';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
});
afterAll(() => service.stop());

type Link = { pairing_id: string; uid: string; cpo_id: string; user_id: string };
type Page = { items: Link[]; next_cursor: string | null; as_of: string };

const get = (path: string, query: Record<string, string>) =>
  service.request('GET', `${path}?${new URLSearchParams(query)}`, { token: service.ingestToken });

async function pair(cpo: TestCpo, uid = `S-${randomUUID()}`, user_id: string = randomUUID()): Promise<string> {
  const { code } = await service.code({ user_id });
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
  return uid;
}
async function pairSeveral(cpo: TestCpo, count: number): Promise<string[]> {
  const uids: string[] = [];
  while (uids.length < count) uids.push(await pair(cpo));
  return uids;
}
const unpair = async (uid = '') => expect((await service.unpairAsApp(uid)).status).toBe(200);
const uidsOf = (links: Link[]) => links.map(({ uid }) => uid);

/** Every page; after each of them, something else may happen. */
async function walk(query: Record<string, string>, meanwhile = async () => {}): Promise<Page[]> {
  const pages: Page[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { status, body } = await get('/v1/links', cursor === '' ? query : { ...query, cursor });
    expect(status).toBe(200);
    pages.push(body);
    cursor = body.next_cursor;
    await meanwhile();
  }
  return pages;
}
const linksOf = (pages: Page[]) => pages.flatMap(({ items }) => items);

/** Storing without an event, which a snapshot does not need. */
async function store(cpoId: string, count: number) {
  await service.sql.query(
    `with p as (
       insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
       select gen_random_uuid(), $1, gen_random_uuid()::text, 'u', 'l' from generate_series(1, $2) returning *
     ) insert into stations (pairing_id, uid, payload_protocol) select id, station_uid, 'ocpp1.6' from p`,
    [cpoId, count],
  );
}

test('the pages have every current link once, of all CPOs or of one, as the link of each station is', async () => {
  const [one, other] = [await service.cpo(), await service.cpo()];
  const [kept, ended, theirs] = [await pairSeveral(one, 5), await pairSeveral(one, 2), await pairSeveral(other, 3)];
  for (const uid of ended) await unpair(uid);
  const forgotten = randomUUID();
  await pair(one, undefined, forgotten);
  await service.request('DELETE', `/v1/app/users/${forgotten}`, { token: service.appToken });

  for (const limit of ['1', '2', '1000']) {
    const found = uidsOf(linksOf(await walk({ limit })));
    expect(new Set(found).size).toBe(found.length);
    expect(found).toEqual(expect.arrayContaining([...kept, ...theirs]));
    for (const uid of ended) expect(found).not.toContain(uid);
    expect(uidsOf(linksOf(await walk({ limit, cpo_id: one.id.toUpperCase() }))).sort()).toEqual([...kept].sort());
  }
  const [link] = linksOf(await walk({ cpo_id: other.id }));
  expect((await get('/v1/links', { uid: link?.uid ?? '', cpo_id: other.id })).body).toEqual(link);
  expect((await get('/v1/links', { cpo_id: randomUUID() })).body).toMatchObject({ items: [], next_cursor: null });
});

test('a page has 100 links unless asked for 1 to 1,000', async () => {
  const cpo = await service.cpo();
  await store(cpo.id, 1_001);
  for (const [query, length] of [
    [{}, 100],
    [{ limit: '1' }, 1],
    [{ limit: '1000' }, 1_000],
  ] as const) {
    const { body } = await get('/v1/links', { ...query, cpo_id: cpo.id });
    expect([body.items.length, body.next_cursor]).toEqual([length, expect.any(String)]);
  }
  const all = linksOf(await walk({ limit: '1000', cpo_id: cpo.id }));
  expect(new Set(all.map(({ pairing_id }) => pairing_id)).size).toBe(1_001);
  await service.sql.query(`update pairings set ended_at = now(), ended_by = 'app' where cpo_id = $1`, [cpo.id]);
  for (const limit of ['0', '1001', '-1', 'all', '1.5']) {
    const { status, body } = await get('/v1/links', { limit });
    expect([status, body.errors?.[0]?.pointer]).toEqual([400, '/limit']);
  }
});

test('a cursor that is none of this list, or of the list of another CPO, is refused', async () => {
  const [one, other] = [await service.cpo(), await service.cpo()];
  await pairSeveral(one, 2);
  const of = async (query: Record<string, string>) =>
    (await get('/v1/links', { ...query, limit: '1' })).body.next_cursor;
  const [ofOne, ofAll] = [await of({ cpo_id: one.id }), await of({})];
  const encoded = (text: string) => Buffer.from(text).toString('base64url');
  const refused: Record<string, string>[] = [
    { cursor: 'x' },
    { cursor: encoded('not a place') },
    { cursor: encoded(`1 * ${one.id}`) },
    { cursor: encoded(`x * ${one.id} ${one.id}`) },
    { cursor: encoded(`1 x ${one.id} ${one.id}`) },
    { cursor: encoded(`${'9'.repeat(30)} * ${one.id} ${one.id}`) },
    { cursor: `${ofAll}=` },
    { cursor: ofOne },
    { cursor: ofAll, cpo_id: one.id },
    { cursor: ofOne, cpo_id: other.id },
  ];
  for (const query of refused) {
    const { status, body } = await get('/v1/links', query);
    expect([query, status, body.errors?.[0]?.pointer]).toEqual([query, 400, '/cursor']);
  }
});

/** Applies the events after a position, when all that has happened is published. */
async function follow(links: Map<string, Link>, asOf: string): Promise<void> {
  await untilSo(async () => {
    const { rows } = await service.sql.query('select from events where position is null and seq is not null');
    return rows.length === 0;
  });
  for (let after = asOf; ; ) {
    const { body } = await get('/v1/events', { after, limit: '3' });
    for (const { type, data } of body.items) {
      if (type === 'station.paired' && !data.erased) links.set(data.pairing_id, data);
      if (type === 'station.unpaired' || type === 'pairing.erased') links.delete(data.pairing_id);
    }
    if (body.items.length === 0) return;
    after = body.next_after;
  }
}

test('whoever follows the events from as_of has every link, whatever began and ended while the pages were read', async () => {
  const cpos = [await service.cpo(), await service.cpo(), await service.cpo()];
  const stations = new Map<string, TestCpo>();
  for (const cpo of cpos) for (const uid of await pairSeveral(cpo, 4)) stations.set(uid, cpo);
  const users = new Map<string, string>();

  let n = 0;
  /** Ends, begins again and adds links before and behind the page that was read last. */
  const change = async () => {
    const uids = [...stations.keys()];
    const [ended = '', again = ''] = [uids[n % uids.length], uids[(n + 5) % uids.length]];
    n += 1;
    await unpair(ended);
    stations.delete(ended);
    if (again !== ended) {
      await unpair(again);
      await pair(stations.get(again) as TestCpo, again);
    }
    const cpo = cpos[n % 3] as TestCpo;
    const user = randomUUID();
    const uid = await pair(cpo, undefined, user);
    stations.set(uid, cpo);
    users.set(uid, user);
    if (n % 3 > 0) return;
    const [forgotten = ''] = users.keys();
    await service.request('DELETE', `/v1/app/users/${users.get(forgotten)}`, { token: service.appToken });
    users.delete(forgotten);
    stations.delete(forgotten);
  };
  // Pages are read while requests are under way too.
  let running = true;
  const alongside = (async () => {
    const cpo = await service.cpo();
    while (running) {
      const uid = await pair(cpo);
      if (n % 2 === 0) await unpair(uid);
      else stations.set(uid, cpo);
    }
  })();
  const pages = await walk({ limit: '2' }, async () => {
    if (n < 12) await change();
  });
  running = false;
  await alongside;

  expect(new Set(pages.map(({ as_of }) => as_of)).size).toBe(1);
  const found = linksOf(pages).map(({ pairing_id }) => pairing_id);
  expect(new Set(found).size).toBe(found.length);
  const links = new Map(linksOf(pages).map((link) => [link.pairing_id, link]));
  await follow(links, pages[0]?.as_of ?? '');
  const { rows } = await service.sql.query(
    `select p.id, user_id, uid from pairings p join stations s on s.pairing_id = p.id
     where ended_at is null and user_id is not null order by p.id`,
  );
  const followed = [...links.values()].map(({ pairing_id, user_id, uid }) => ({ id: pairing_id, user_id, uid }));
  expect(followed.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(rows);
  for (const uid of stations.keys()) expect(followed.map((link) => link.uid)).toContain(uid);
});
