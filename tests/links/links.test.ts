import { randomUUID } from 'node:crypto';
import { answerStation, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ ...NO_LIMITS, SANDBOX: 'true' });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const get = (query: Record<string, string>, token = service.ingestToken) =>
  service.request('GET', `/v1/links?${new URLSearchParams(query)}`, { token });
const resolve = (links: object[], token = service.ingestToken) =>
  service.request('POST', '/v1/links/resolve', { token, body: { links } });

/** Pairs a station for a user and location of its own. */
async function pair(uid = `S-${randomUUID()}`, by = cpo, user_id = randomUUID()) {
  const code = await service.code({ user_id });
  expect((await service.pair(by, code.code, aStation(uid))).status).toBe(200);
  return { uid, user_id, code_id: code.id };
}
const unpair = async (uid: string) => expect((await service.unpairAsApp(uid)).status).toBe(200);
const forget = (user_id: string) => service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });

const NOT_LINKED = { status: 404, body: { type: '/problems/not-linked' } };
/** An instant so many milliseconds later, of which the fraction goes on. */
const later = (instant: string, ms: number, digits = '') =>
  new Date(Date.parse(instant) + ms).toISOString().replace('Z', `${digits}Z`);
const SOME_MS = 5_000;
/** Moves the interval of a pairing into the past, so that there is room around it. */
async function setInterval(uid: string, begin: string, end: string | null) {
  const { rowCount } = await service.sql.query(
    `update pairings set paired_at = $2, ended_at = $3, ended_by = case when $3::timestamptz is not null then 'app' end
     where id = (select id from pairings where station_uid = lower($1) order by id desc limit 1)`,
    [uid, begin, end],
  );
  expect(rowCount).toBe(1);
}

describe('at an instant', () => {
  test('the link of a paired station has everything that its pairing has', async () => {
    const { uid, user_id } = await pair(`Upper-${randomUUID()}`);
    const { rows } = await service.sql.query('select * from pairings where station_uid = $1', [uid.toLowerCase()]);
    const link = {
      pairing_id: rows[0].id,
      uid,
      cpo_id: cpo.id,
      payload_protocol: 'ocpp2.0.1',
      user_id,
      charging_location_id: 'home',
      paired_at: rows[0].paired_at.toISOString(),
    };
    for (const spelling of [uid, uid.toLowerCase(), uid.toUpperCase()])
      expect(await get({ uid: spelling, cpo_id: cpo.id })).toMatchObject({ status: 200, body: link });
    expect((await get({ uid, cpo_id: cpo.id })).body).toEqual(link);
    expect((await resolve([{ uid, cpo_id: cpo.id }])).body).toEqual({ links: [link] });
  });

  test('a station that was paired with a code of the CPO is linked too', async () => {
    const uid = `S-${randomUUID()}`;
    const user_id = randomUUID();
    const theirs = await startCpo(service, answerStation(uid));
    expect(await service.redeem(theirs, '1', { user_id })).toMatchObject({ status: 201 });
    expect((await get({ uid, cpo_id: theirs.id })).body).toMatchObject({ uid, cpo_id: theirs.id, user_id });
  });

  test('the begin is included and the end excluded, to the millisecond', async () => {
    const { uid } = await pair();
    const [begin, end] = ['2026-03-01T10:00:00.123Z', '2026-03-01T10:30:00.456Z'];
    await unpair(uid);
    await setInterval(uid, begin, end);
    const status = async (at: string) => (await get({ uid, cpo_id: cpo.id, at })).status;
    expect(await status(later(begin, -1))).toBe(404);
    expect(await status(begin)).toBe(200);
    expect(await status(later(end, -1))).toBe(200);
    expect(await status(end)).toBe(404);
    const { body } = await get({ uid, cpo_id: cpo.id, at: begin });
    expect(body).toMatchObject({ paired_at: begin, unpaired_at: end });
  });

  test('an instant of more digits than a millisecond has is not rounded', async () => {
    const { uid } = await pair();
    const [begin, end] = ['2026-03-01T10:00:00.123Z', '2026-03-01T10:30:00.456Z'];
    await unpair(uid);
    await setInterval(uid, begin, end);
    const status = async (at: string) => (await get({ uid, cpo_id: cpo.id, at })).status;
    for (const digits of ['5', '9999', '999999999']) {
      expect([digits, await status(later(begin, -1, digits))]).toEqual([digits, 404]);
      expect([digits, await status(later(end, -1, digits))]).toEqual([digits, 200]);
    }
  });

  test.each([
    ['another offset', '2026-03-01T11:30:00+01:00', 200],
    ['the largest offset', '2026-03-02T09:59:00.500+23:59', 200],
    ['lower case', '2026-03-01t10:15:00z', 200],
    ['a leap second', '2026-02-28T23:59:60Z', 404],
    ['the first year', '0000-01-01T00:00:00Z', 404],
    ['the last year', '9999-12-31T23:59:59.999-23:59', 404],
  ])('an instant in %s is understood', async (_name, at, status) => {
    const { uid } = await pair();
    await unpair(uid);
    await setInterval(uid, '2026-03-01T10:00:00.123Z', '2026-03-01T10:30:00.456Z');
    expect((await get({ uid, cpo_id: cpo.id, at })).status).toBe(status);
  });

  test('each of the users of a station has it in their own time only', async () => {
    const uid = `S-${randomUUID()}`;
    const hours = ['08', '09', '10', '11'].map((hour) => `2026-03-01T${hour}:00:00.000Z`);
    const users: string[] = [];
    for (const [i, begin] of hours.entries()) {
      users.push((await pair(uid)).user_id);
      if (i < 3) await unpair(uid);
      await setInterval(uid, begin, hours[i + 1] ?? null);
    }
    const userAt = async (at?: string) => (await get({ uid, cpo_id: cpo.id, ...(at && { at }) })).body.user_id;
    for (const [i, begin] of hours.entries()) {
      expect(await userAt(begin)).toBe(users[i]);
      expect(await userAt(later(begin, 3_599_999))).toBe(users[i]);
    }
    expect(await userAt(later(hours[0] ?? '', -1))).toBeUndefined();
    expect(await userAt()).toBe(users[3]);
  });

  test('a station that is paired again at once belongs to the second user from the begin of their pairing', async () => {
    const uid = `S-${randomUUID()}`;
    const first = await pair(uid);
    await unpair(uid);
    const second = await pair(uid);
    const current = (await get({ uid, cpo_id: cpo.id })).body;
    expect(current.user_id).toBe(second.user_id);
    expect((await get({ uid, cpo_id: cpo.id, at: current.paired_at })).body.user_id).toBe(second.user_id);
    const before = await get({ uid, cpo_id: cpo.id, at: later(current.paired_at, -1) });
    expect(before.body.user_id).not.toBe(second.user_id);
    const { rows } = await service.sql.query(
      'select user_id, paired_at, ended_at from pairings where station_uid = $1 order by id',
      [uid.toLowerCase()],
    );
    expect(rows.map(({ user_id }) => user_id)).toEqual([first.user_id, second.user_id]);
    expect(rows[1].paired_at.getTime()).toBeGreaterThanOrEqual(rows[0].ended_at.getTime());
  });

  test('an unpaired station is not linked any more, and still was while it was paired', async () => {
    const { uid, user_id } = await pair();
    const { paired_at } = (await get({ uid, cpo_id: cpo.id })).body;
    await setInterval(uid, later(paired_at, -SOME_MS), null);
    await service.unpairAsCpo(cpo, uid);
    expect(await get({ uid, cpo_id: cpo.id })).toMatchObject(NOT_LINKED);
    const before = await get({ uid, cpo_id: cpo.id, at: later(paired_at, -1) });
    expect(before).toMatchObject({ status: 200, body: { user_id, unpaired_at: expect.any(String) } });
  });

  test('a station is linked now even if its begin is in the future of a clock that was set back', async () => {
    const { uid } = await pair();
    await setInterval(uid, later(new Date().toISOString(), 3_600_000), null);
    expect((await get({ uid, cpo_id: cpo.id })).status).toBe(200);
    expect(await get({ uid, cpo_id: cpo.id, at: new Date().toISOString() })).toMatchObject(NOT_LINKED);
    await unpair(uid);
    expect(await get({ uid, cpo_id: cpo.id })).toMatchObject(NOT_LINKED);
  });

  test("a forgotten user's station is not linked, at any instant, whether it was unpaired before or not", async () => {
    const user_id = randomUUID();
    const [current, ended] = [await pair(undefined, cpo, user_id), await pair(undefined, cpo, user_id)];
    await unpair(ended.uid);
    const instants = ['2026-03-01T10:00:00.000Z', '2026-03-01T10:10:00.000Z', '2026-03-01T10:20:00.000Z'];
    await setInterval(current.uid, instants[0] ?? '', null);
    await setInterval(ended.uid, instants[0] ?? '', instants[2] ?? '');
    expect((await forget(user_id)).status).toBe(204);
    for (const uid of [current.uid, ended.uid]) {
      expect(await get({ uid, cpo_id: cpo.id })).toMatchObject(NOT_LINKED);
      for (const at of [...instants, new Date().toISOString()])
        expect(await get({ uid, cpo_id: cpo.id, at })).toMatchObject(NOT_LINKED);
    }
  });

  test("a station of another CPO is not linked, at any instant, also if that CPO's has the same uid later", async () => {
    const other = await service.cpo();
    const { uid, user_id } = await pair();
    await unpair(uid);
    await setInterval(uid, '2026-03-01T10:00:00.000Z', '2026-03-01T11:00:00.000Z');
    const theirs = await pair(uid, other);
    await setInterval(uid, '2026-03-01T11:00:00.000Z', null);
    const userAt = async (cpo_id: string, at: string) => (await get({ uid, cpo_id, at })).body.user_id;
    expect(await userAt(cpo.id, '2026-03-01T10:30:00Z')).toBe(user_id);
    expect(await userAt(other.id, '2026-03-01T10:30:00Z')).toBeUndefined();
    expect(await userAt(cpo.id, '2026-03-01T11:30:00Z')).toBeUndefined();
    expect(await userAt(other.id, '2026-03-01T11:30:00Z')).toBe(theirs.user_id);
    expect(await get({ uid, cpo_id: cpo.id })).toMatchObject(NOT_LINKED);
    expect(await get({ uid, cpo_id: randomUUID() })).toMatchObject(NOT_LINKED);
  });

  test.each([
    ['/cpo_id', { uid: 'x' }],
    ['/cpo_id', { uid: 'x', at: '2026-03-01T11:30:00Z' }],
    ['/uid', { at: '2026-03-01T11:30:00Z' }],
    ['/uid', { cpo_id: randomUUID(), at: '2026-03-01T11:30:00Z' }],
    ['/at', { uid: 'x', cpo_id: randomUUID(), at: 'yesterday' }],
    ['/at', { uid: 'x', cpo_id: randomUUID(), at: '2026-03-01T11:30:00' }],
    ['/at', { uid: 'x', cpo_id: randomUUID(), at: '2026-02-30T11:30:00Z' }],
    ['/at', { uid: 'x', cpo_id: randomUUID(), at: '2026-03-01 11:30:00\u00a0Z' }],
    ['/at', { uid: 'x', cpo_id: randomUUID(), at: '2026-19-01T11:30:00Z' }],
    ['/at', { uid: 'x', cpo_id: randomUUID(), at: '2026-03-01T29:30:00Z' }],
    ['/cpo_id', { uid: 'x', cpo_id: 'x' }],
    ['/cpo_id', { uid: 'x', cpo_id: 'urn:uuid:019370a4-5e3b-7c31-9d2e-6f0b1c2d3e4f' }],
    ['/cpo_id', { cpo_id: 'urn:uuid:019370a4-5e3b-7c31-9d2e-6f0b1c2d3e4f' }],
    ['/uid', { uid: '', cpo_id: randomUUID() }],
  ])('a question without %s, or with a malformed one, is refused (%j)', async (pointer, query) => {
    const { status, body } = await get(query);
    expect([status, body.type, body.errors?.[0]?.pointer]).toEqual([400, '/problems/invalid-request', pointer]);
  });
});

describe('many at once', () => {
  test('the answers are in the order of the questions, and null stands for what is not linked', async () => {
    const stations = [await pair(), await pair(), await pair()];
    const [first, second, third] = stations.map(({ uid }) => uid);
    await unpair(second ?? '');
    await setInterval(second ?? '', '2026-03-01T10:00:00.000Z', '2026-03-01T11:00:00.000Z');
    const { status, body } = await resolve([
      { uid: third, cpo_id: cpo.id },
      { uid: second, cpo_id: cpo.id },
      { uid: second?.toUpperCase(), cpo_id: cpo.id, at: '2026-03-01T11:59:59.999+01:00' },
      { uid: 'unknown', cpo_id: cpo.id, at: null },
      { uid: first, cpo_id: randomUUID() },
      { uid: first, cpo_id: cpo.id.toUpperCase() },
      { uid: third, cpo_id: cpo.id },
    ]);
    expect(status).toBe(200);
    expect(body.links.map((link: { uid: string } | null) => link?.uid ?? null)).toEqual([
      third,
      null,
      second,
      null,
      null,
      first,
      third,
    ]);
  });

  test('500 questions are answered, and 501 or none are refused', async () => {
    const { uid } = await pair();
    const question = { uid, cpo_id: cpo.id, at: later(new Date().toISOString(), SOME_MS) };
    const answered = await resolve(Array(500).fill(question));
    expect(new Set(answered.body.links.map((link: { uid: string }) => link.uid))).toEqual(new Set([uid]));
    expect(answered.body.links).toHaveLength(500);
    for (const count of [0, 501]) {
      const { status, body } = await resolve(Array(count).fill({ uid: 'x', cpo_id: cpo.id }));
      expect([status, body.errors?.[0]?.pointer]).toEqual([400, '/links']);
    }
  });

  test('a malformed question is named', async () => {
    const good = { uid: 'x', cpo_id: cpo.id };
    const { body } = await resolve([good, { ...good, at: 'now' }, { uid: 'x' }, { ...good, uid: '..' }]);
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual([
      '/links/1/at',
      '/links/2/cpo_id',
      '/links/3/uid',
    ]);
  });
});

test('a malformed question that a schema cannot describe is named', async () => {
  const good = { uid: 'x', cpo_id: cpo.id };
  for (const [pointer, wrong] of [
    ['/links/1/at', { ...good, at: '2026-02-30T11:30:00Z' }],
    ['/links/1/cpo_id', { ...good, cpo_id: `urn:uuid:${cpo.id}` }],
  ] as const)
    expect((await resolve([good, wrong])).body.errors).toMatchObject([{ pointer }]);
});

test('the app and the ingest may ask, a CPO and nobody may not', async () => {
  const question = { uid: 'x', cpo_id: cpo.id };
  for (const token of [service.ingestToken, service.appToken]) {
    expect(await get(question, token)).toMatchObject(NOT_LINKED);
    expect((await get({}, token)).status).toBe(200);
    expect((await resolve([question], token)).body).toEqual({ links: [null] });
  }
  expect((await get(question, cpo.token)).body.type).toBe('/problems/wrong-role');
  expect((await resolve([question], cpo.token)).body.type).toBe('/problems/wrong-role');
  expect((await service.request('GET', '/v1/links')).status).toBe(401);
});

test('the ingest may do nothing else', async () => {
  const refused = [
    ['GET', '/v1/app/charging-stations?user_id=x'],
    ['GET', '/v1/scsp/charging-stations'],
    ['DELETE', '/v1/app/users/x'],
    ['POST', '/v1/app/charging-stations/x/unpair'],
    ['POST', '/v1/app/pairing-codes', { user_id: 'x', charging_location_id: 'x' }],
    ['GET', '/v1/app/webhook-endpoints'],
  ] as const;
  for (const [method, path, body] of refused)
    expect((await service.request(method, path, { token: service.ingestToken, body })).body.type).toBe(
      '/problems/wrong-role',
    );
});
