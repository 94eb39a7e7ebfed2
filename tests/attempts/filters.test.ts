import { randomUUID } from 'node:crypto';
import { MAX_READ } from '../../src/attempts/list-attempts';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { until } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
});
afterAll(() => service.stop());

const list = (cpo: TestCpo, query: Record<string, string> | string) =>
  service.request('GET', `/v1/scsp/attempts?${new URLSearchParams(query)}`, { token: cpo.token });
const send = (cpo: TestCpo, body: unknown, requestId = randomUUID() as string) =>
  service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: cpo.token,
    body,
    headers: { 'X-Request-ID': requestId },
  });
/** Stores so many attempts as the service would, one with each of the ids, the first one last. */
const store = (cpo: { id: string }, count: number, change: { request_id?: string; uid?: string; outcome?: string }) =>
  service.sql.query(
    `insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
     select (lpad(to_hex(1764000000000 + i), 12, '0') || '7' || right(replace(gen_random_uuid()::text, '-', ''), 19))::uuid,
       $1, $3, 'ocpp2.0.1', $4, $5 from generate_series(1, $2) i`,
    [cpo.id, count, change.request_id ?? randomUUID(), change.uid ?? null, change.outcome ?? 'invalid-request'],
  );

describe('the attempts of a CPO', () => {
  test('can be filtered by request id, uid and outcome, alone and together', async () => {
    const cpo = await service.cpo();
    const station = aStation('Wallbox-I');
    const first = await send(cpo, { code: '1', charging_station: station }, 'order/66:=~+');
    expect(first.status).toBe(404);
    expect((await service.pair(cpo, (await service.code()).code, station)).status).toBe(200);
    expect((await send(cpo, { charging_station: aStation('Wallbox-J') }, 'order/66:=~+')).status).toBe(400);
    await until(
      ({ body }) => body.items?.length === 3,
      () => list(cpo, ''),
      10_000,
    );
    const found = async (query: Record<string, string>) =>
      (await list(cpo, query)).body.items.map(({ uid, outcome }: any) => `${uid} ${outcome}`);
    const [refused, paired, invalid] = ['Wallbox-I incorrect-code', 'Wallbox-I paired', 'Wallbox-J invalid-request'];
    expect(await found({ request_id: 'order/66:=~+' })).toEqual([invalid, refused]);
    expect(await found({ uid: 'wallbox-i' })).toEqual([paired, refused]);
    expect(await found({ outcome: 'paired' })).toEqual([paired]);
    expect(await found({ outcome: 'invalid-request' })).toEqual([invalid]);
    expect(await found({ uid: 'WALLBOX-I', outcome: 'incorrect-code' })).toEqual([refused]);
    expect(await found({ uid: 'WALLBOX-I', outcome: 'paired' })).toEqual([paired]);
    expect(await found({ uid: 'wallbox-j', request_id: 'order/66:=~+', outcome: 'invalid-request' })).toEqual([
      invalid,
    ]);
    expect(await found({ uid: 'wallbox-j', outcome: 'paired' })).toEqual([]);
    expect(await found({ request_id: 'ORDER/66:=~+' })).toEqual([]);
  });

  test('with each filter are seen by that CPO alone', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    const uid = `S-${randomUUID()}`;
    expect((await send(cpo, { code: '1', charging_station: aStation(uid) }, uid)).status).toBe(404);
    for (const query of [{ uid }, { request_id: uid }, { outcome: 'incorrect-code' }] as Record<string, string>[]) {
      expect((await list(cpo, query)).body.items).toHaveLength(1);
      expect((await list(other, query)).body).toEqual({ items: [], next_cursor: null });
    }
  });

  test.each(['%', '_', `'`, '"', '\\', '%_%', `' or true --`, 'S-%', '$1', 'a b+c&d', '*'])(
    'are found by a uid that is %j, and by nothing that only looks like a pattern for it',
    async (uid) => {
      const cpo = await service.cpo();
      for (const one of [uid, 'S-1']) await send(cpo, { code: '1', charging_station: aStation(one) });
      const { body } = await list(cpo, { uid });
      expect(body.items.map((item: any) => item.uid)).toEqual([uid]);
    },
  );

  test.each<[string, Record<string, string> | string, string, RegExp]>([
    ['an unknown outcome', { outcome: 'lost' }, '/outcome', /^must be one of paired, incorrect-code, station-already-/],
    ['an outcome in other letters', { outcome: 'Paired' }, '/outcome', /^must be one of paired, /],
    ['no outcome', { outcome: '' }, '/outcome', /must be one of/],
    ['no uid', { uid: '' }, '/uid', /must have at least 1 character/],
    ['a uid of 49 characters', { uid: 'u'.repeat(49) }, '/uid', /must have at most 48 characters/],
    ['a uid of 1,000 characters', { uid: 'u'.repeat(1_000) }, '/uid', /must have at most 48 characters/],
    ['a uid with NUL', 'uid=a%00', '/uid', /printable ASCII/],
    ['a uid with another character', { uid: 'wallböx' }, '/uid', /printable ASCII/],
    ['two uids', 'uid=a&uid=b', '/uid', /must be a string/],
    ['a request id with NUL', 'request_id=%00', '/request_id', /only letters, digits and/],
    ['a request id that would not be taken over', { request_id: 'a b' }, '/request_id', /only letters, digits and/],
    ['a request id of 1,000 characters', { request_id: 'r'.repeat(1_000) }, '/request_id', /at most 128 characters/],
  ])('cannot be filtered by %s', async (_what, query, pointer, message) => {
    const { status, body } = await list(await service.cpo(), query);
    expect([status, body.type]).toEqual([400, '/problems/invalid-request']);
    expect(body.errors).toEqual(expect.arrayContaining([{ pointer, message: expect.stringMatching(message) }]));
  });

  test('are not found by a uid that is due for erasure', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    const uid = `S-${randomUUID()}`;
    for (const one of [cpo, other]) await store(one, 1, { uid: uid.toUpperCase() });
    expect((await list(other, { uid })).body.items).toHaveLength(1);
    await service.sql.query('insert into erasures (pairing_id, station_uid) values ($1, $2)', [
      randomUUID(),
      uid.toLowerCase(),
    ]);
    for (const one of [cpo, other]) expect((await list(one, { uid })).body).toEqual({ items: [], next_cursor: null });
    expect((await list(cpo, { uid, outcome: 'invalid-request' })).body.items).toEqual([]);
    await service.sql.query('delete from erasures where station_uid = $1', [uid.toLowerCase()]);
  });

  test('come in pages that add up, whatever the filters are', async () => {
    const cpo = await service.cpo();
    for (const outcome of ['incorrect-code', 'paired', 'body-too-large'])
      await store(cpo, 120, { outcome, request_id: 'same', uid: 'S-1' });
    const filters: Record<string, string>[] = [
      { outcome: 'paired' },
      { outcome: 'body-too-large' },
      { outcome: 'body-too-large', request_id: 'same', uid: 's-1' },
      { outcome: 'paired', request_id: 'same' },
    ];
    for (const filter of filters) {
      const ids = new Set<string>();
      let cursor: string | null = '';
      for (let pages = 0; cursor !== null; pages += 1) {
        expect(pages).toBeLessThan(4);
        const { status, body } = await list(cpo, { ...filter, limit: '50', ...(cursor !== '' && { cursor }) });
        expect(status).toBe(200);
        for (const { id, outcome } of body.items) {
          expect(outcome).toBe(filter.outcome);
          ids.add(id);
        }
        cursor = body.next_cursor;
      }
      expect(ids.size).toBe(120);
    }
  });

  test('are read ten thousand at most for a page: one that finds fewer goes on from there', async () => {
    const cpo = await service.cpo();
    await store(cpo, 1, { outcome: 'paired', request_id: 'old' });
    await service.sql.query(`update attempts set id = '00000000-0000-7000-8000-000000000001' where cpo_id = $1`, [
      cpo.id,
    ]);
    await store(cpo, MAX_READ + 1, { request_id: 'old' });
    for (const filter of [{ outcome: 'paired' }, { outcome: 'paired', request_id: 'old' }] as Record<
      string,
      string
    >[]) {
      const first = (await list(cpo, filter)).body;
      expect(first).toEqual({ items: [], next_cursor: expect.any(String) });
      const second = (await list(cpo, { ...filter, cursor: first.next_cursor })).body;
      expect(second.items).toHaveLength(1);
      expect(second.next_cursor).toBeNull();
    }
  });
});
