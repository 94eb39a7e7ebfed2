import { randomUUID } from 'node:crypto';
import { PUBLISH_TIMES, publishEvents } from '../../src/events/publish';
import { runRetention } from '../../src/retention/retention';
import { type AnEvent, endOf, eventsAfter, followUntil } from '../harness/feed';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { issueDirectly, pairDirectly } from '../harness/pair-function';
import { until, untilSo } from '../harness/until';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;
const get = (id: string, token = service.appToken) => service.request('GET', `/v1/events/${id}`, { token });

async function pair(uid = `S-${randomUUID()}`) {
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  return uid;
}

/** Pairs a station, and returns its event and the end of the feed before. */
async function published() {
  const after = await endOf(service);
  const uid = await pair();
  const events = await followUntil(service, after, ({ data }) => data.uid === uid);
  return { after, uid, event: events.at(-1) as AnEvent };
}

describe('a reader', () => {
  test('continues with next_after, also after an empty page', async () => {
    const { event } = await published();
    const { body } = await eventsAfter(service, `after=${event.position}`);
    expect(body).toEqual({ items: [], next_after: event.position });
  });

  test('gets events in the order of their positions, in pages', async () => {
    const after = await endOf(service);
    const uids = [await pair(), await pair(), await pair()];
    await followUntil(service, after, ({ data }) => data.uid === uids[2]);
    const first = (await eventsAfter(service, `after=${after}&limit=2`)).body;
    const second = (await eventsAfter(service, `after=${first.next_after}&limit=2`)).body;
    const events: AnEvent[] = [...first.items, ...second.items];
    expect(events.map(({ data }) => data.uid)).toEqual(uids);
    expect(events.map(({ position }) => Number(position) - Number(after))).toEqual([1, 2, 3]);
    expect(first.next_after).toBe(events[1]?.position);
  });

  test('begins with the oldest event when it sends no position', async () => {
    await published();
    const { body } = await eventsAfter(service, 'limit=1');
    const [{ position }] = await sql('select min(position) as position from events');
    expect(body.items[0].position).toBe(position);
  });

  test('is woken by a new event', async () => {
    const after = await endOf(service);
    const waiting = eventsAfter(service, `after=${after}&wait=30`);
    const uid = await pair();
    expect((await waiting).body.items.map(({ data }: AnEvent) => data.uid)).toContain(uid);
  });

  test('gets an empty page when nothing happens while it waits', async () => {
    const after = await endOf(service);
    expect((await eventsAfter(service, `after=${after}&wait=1`)).body).toEqual({ items: [], next_after: after });
  });

  test('gets only the types that it asks for, and passes over the others', async () => {
    const { after, uid } = await published();
    await service.unpairAsCpo(cpo, uid);
    const [last] = (await followUntil(service, after, ({ type }) => type === 'station.unpaired')).slice(-1);
    const query = `after=${after}&types=`;
    const paired = (await eventsAfter(service, `${query}station.paired,pairing.erased`)).body;
    expect(paired.items.map(({ type }: AnEvent) => type)).toEqual(['station.paired']);
    const cancelled = (await eventsAfter(service, `${query}pairing_code.cancelled`)).body;
    expect(cancelled).toEqual({ items: [], next_after: last?.position });
  });

  test('is told of a type that there is not, which it would wait for in vain', async () => {
    const { status, body } = await eventsAfter(service, 'types=station.paired,station.pared');
    expect([status, body.errors]).toEqual([
      400,
      [{ pointer: '/types/1', message: expect.stringContaining('must be one of station.paired, ') }],
    ]);
  });

  test.each(['-1', 'x', '1.5', '', '9'.repeat(19)])('gets a 400 for the position "%s"', async (after) => {
    const { status, body } = await eventsAfter(service, `after=${after}`);
    expect([status, body.errors[0].pointer]).toEqual([400, '/after']);
  });

  test('may wait a hundred times at once, and not more', async () => {
    const other = await startHarness(NO_LIMITS);
    const after = await endOf(other);
    const wait = (seconds: number, token?: string) => eventsAfter(other, `after=${after}&wait=${seconds}`, token);
    const answers = Array.from({ length: 101 }, () => wait(30));
    expect((await Promise.race(answers)).status).toBe(429);
    expect((await wait(1, other.ingestToken)).status).toBe(200);
    // An event, of the code that the second replaces, ends their waiting.
    for (let i = 0; i < 2; i++) await other.code({ user_id: 'one' });
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses.sort()).toEqual([...Array(100).fill(200), 429]);
    expect((await wait(1)).status).toBe(200);
    await other.stop();
  });

  test('gets a 410 for a position beyond the end', async () => {
    const { status, body } = await eventsAfter(service, `after=${'9'.repeat(18)}`);
    expect([status, body.type]).toEqual([410, '/problems/events-expired']);
  });
});

describe('the role ingest', () => {
  test('sees the events of stations, erasures and restarts, and nothing else', async () => {
    const { after, uid, event } = await published();
    const { id } = await service.code();
    await service.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: service.appToken });
    const [cancelled] = (await followUntil(service, after, ({ data }) => data.code_id === id)).slice(-1);
    const { body } = await eventsAfter(service, `after=${after}`, service.ingestToken);
    expect(body).toEqual({ items: [event], next_after: cancelled?.position });
    expect(body.items[0].data.uid).toBe(uid);
    expect((await get(event.id, service.ingestToken)).status).toBe(200);
    expect((await get(cancelled?.id ?? '', service.ingestToken)).status).toBe(404);
    expect((await get(cancelled?.id ?? '')).status).toBe(200);
  });

  test('may do nothing else, and a CPO may not read events', async () => {
    for (const path of ['/v1/app/cpos', '/v1/scsp/me', '/v1/app/webhook-endpoints'])
      expect((await service.request('GET', path, { token: service.ingestToken })).status).toBe(403);
    expect((await eventsAfter(service, '', cpo.token)).status).toBe(403);
  });
});

test('an event has the same form alone as in the feed; an unknown or malformed id is a 404', async () => {
  const { event } = await published();
  expect((await get(event.id)).body).toEqual(event);
  for (const id of [randomUUID(), 'x', '%00']) expect((await get(id)).status).toBe(404);
});

test('an event of an endpoint is for its app only', async () => {
  const [{ id }] = await sql(
    `insert into events (id, type, endpoint_id, app_name, reason)
     values (gen_random_uuid(), 'webhook_endpoint.disabled', gen_random_uuid(), 'another app', 'gone') returning id`,
  );
  const { after } = await published();
  await until(
    ({ length }) => length === 1,
    () => sql('select from events where id = $1 and position is not null', [id]),
    30_000,
  );
  expect(JSON.stringify((await eventsAfter(service, 'limit=500')).body)).not.toContain(id);
  expect((await get(id)).status).toBe(404);
  expect(Number(after)).toBeGreaterThan(0);
});

test('events of 0.2.0 are renamed or left out, those of before the upgrade are not published', async () => {
  const after = await endOf(service);
  const { id: code_id } = await service.code();
  const insert = async (type: string, seq: string) =>
    (
      await sql(`insert into events (id, type, code_id, seq) values (gen_random_uuid(), $1, $2, ${seq}) returning id`, [
        type,
        code_id,
      ])
    )[0].id;
  const former = await insert('code.cancelled', 'null');
  const issued = await insert('code.issued', 'default');
  const skipped = await insert('cpo.not-told', 'default');
  await insert('code.expired', 'default');
  const cancelled = await insert('code.cancelled', 'default');
  const events = await followUntil(service, after, ({ id }) => id === cancelled);
  expect(events.map(({ type }) => type)).toEqual(['pairing_code.expired', 'pairing_code.cancelled']);
  for (const id of [former, issued, skipped]) expect((await get(id)).status).toBe(404);
});

test('what a replica of 0.2.0 pairs and unpairs is published', async () => {
  const after = await endOf(service);
  const [code, uid] = [randomUUID(), `S-${randomUUID()}`];
  await issueDirectly(service.sql, [code]);
  expect(await pairDirectly(service.sql, [{ cpoId: cpo.id, code, uid }], { version: 1 })).toMatchObject([
    { outcome: 'paired' },
  ]);
  await sql(`select from scsp_unpair_v1($1, 'cpo', gen_random_uuid(), $2, null)`, [uid.toLowerCase(), cpo.id]);
  const events = await followUntil(service, after, ({ type }) => type === 'station.unpaired');
  expect(events.map(({ type, data }) => [type, data.uid, data.reason])).toEqual([
    ['station.paired', uid, undefined],
    ['station.unpaired', uid, 'cpo'],
  ]);
});

describe('after the database was restored or failed over', () => {
  /** As a base backup of another cluster, or a promoted standby, would have it. */
  const restored = () => sql(`update event_feed set database_identity = 'another 00000001'`);

  test('positions go on higher, never twice, and followers are told first', async () => {
    const { event } = await published();
    const end = await endOf(service);
    await restored();
    const uid = await pair();
    const events = await followUntil(service, end, ({ data }) => data.uid === uid);
    expect(events.map(({ type }) => type)).toEqual(['feed.restarted', 'station.paired']);
    expect(events[0]?.data).toEqual({});
    expect(BigInt(events[0]!.position) - BigInt(end)).toBeGreaterThanOrEqual(10n ** 9n);
    expect(BigInt(events[1]!.position)).toBe(BigInt(events[0]!.position) + 1n);
    expect((await eventsAfter(service, `after=${event.position}`)).status).toBe(200);
    expect((await eventsAfter(service, `after=${BigInt(events[1]!.position) + 10n ** 9n}`)).status).toBe(410);
    expect(service.log.lines.some(({ level, message }) => level === 'warn' && message.includes('restored'))).toBe(true);
  });

  test.each([
    ['is another cluster', `regexp_replace(database_identity, '^[0-9]+', '1')`],
    ['was promoted', `replace(database_identity, ' 00000001 ', ' 00000000 ')`],
    ['is another database of the cluster', `regexp_replace(database_identity, '[0-9]+ ([0-9]+)$', '1 \\1')`],
  ])('a database that %s is noticed', async (_what, identity) => {
    const end = await endOf(service);
    await sql(`update event_feed set database_identity = ${identity}`);
    const [first] = await followUntil(service, end, () => true);
    expect(first?.type).toBe('feed.restarted');
  });

  test('tables that were dropped and loaded again, as by pg_restore --clean, are noticed', async () => {
    const end = await endOf(service);
    await sql(`create table loaded (like event_feed including all); insert into loaded select * from event_feed;
      drop table event_feed; alter table loaded rename to event_feed`);
    const [first] = await followUntil(service, end, () => true);
    expect(first?.type).toBe('feed.restarted');
  });

  test('so it is when the events were loaded, but not the end of the feed', async () => {
    const { event } = await published();
    await sql('update event_feed set last_position = 0, database_identity = null');
    await untilSo(async () => BigInt(await endOf(service)) > BigInt(event.position));
    const [first] = await followUntil(service, event.position, () => true);
    expect(first?.type).toBe('feed.restarted');
    expect(BigInt(first?.position ?? 0)).toBeGreaterThan(BigInt(event.position));
  });

  test('positions are not those that were given after the same backup was restored before', async () => {
    const minutes = (Date.now() - Date.UTC(2026)) / 60_000;
    const end = await endOf(service);
    await restored();
    const [first] = await followUntil(service, end, () => true);
    expect(Number(first?.position)).toBeGreaterThan(Math.floor(minutes) * 1e9);
    expect(Number.isSafeInteger(Number(first?.position))).toBe(true);
  });

  test('followers are told without any other event, too', async () => {
    const end = await endOf(service);
    await restored();
    const [first] = await followUntil(service, end, () => true, service.ingestToken);
    expect(first?.type).toBe('feed.restarted');
  });
});

describe('retention', () => {
  test('removes events after EVENTS_KEEP_DAYS, and a follower who is behind gets a 410', async () => {
    const keeper = await startHarness({ EVENTS_KEEP_DAYS: '7', ...NO_LIMITS });
    const [one, two] = [await keeper.cpo(), await keeper.cpo()];
    for (const by of [one, one, two]) expect((await keeper.pair(by, (await keeper.code()).code)).status).toBe(200);
    let seen = 0;
    const events = await followUntil(keeper, '0', ({ type }) => type === 'station.paired' && ++seen === 3);
    const old = events.at(1);
    await keeper.sql.query(`update events set published_at = now() - interval '7 days 1 minute' where position <= $1`, [
      old?.position,
    ]);
    const { config, db, log } = keeper;
    await runRetention({ config, db, log: log.log, stopping: new AbortController().signal }, async () => {});
    expect((await eventsAfter(keeper, `after=${events[0]?.position}`)).body.type).toBe('/problems/events-expired');
    expect((await eventsAfter(keeper, `after=${old?.position}`)).body.items).toEqual([events[2]]);
    expect((await eventsAfter(keeper)).body.items).toEqual([events[2]]);
    await keeper.stop();
  });

  test('removes events of former versions, which were never published', async () => {
    const [{ id }] = await sql(
      `insert into events (id, type, seq, occurred_at) values (gen_random_uuid(), 'code.issued', null, now() - interval '31 days') returning id`,
    );
    const { config, db, log } = service;
    await runRetention({ config, db, log: log.log, stopping: new AbortController().signal }, async () => {});
    expect(await sql('select from events where id = $1', [id])).toEqual([]);
  });
});

describe('the publisher', () => {
  test('leaves the work to the replica that is at it', async () => {
    const client = await service.sql.connect();
    await client.query('begin; select from event_feed for update');
    const end = await endOf(service);
    await pair();
    const { db, log } = service;
    expect(await publishEvents({ db, log: log.log, stopping: new AbortController().signal })).toBeUndefined();
    expect(await endOf(service)).toBe(end);
    await client.query('commit');
    client.release();
    await followUntil(service, end, ({ type }) => type === 'station.paired');
  });

  test('publishes all that is there, in batches', async () => {
    const other = await startHarness(NO_LIMITS);
    const { db, log, sql: pool } = other;
    const blocker = await pool.connect();
    await blocker.query('begin; select from event_feed for update');
    await pool.query(`insert into events (id, type, pairing_id)
      select gen_random_uuid(), 'pairing.erased', gen_random_uuid() from generate_series(1, 25)`);
    await other.service.stopPublishing();
    await blocker.query('commit');
    blocker.release();
    expect(await publishEvents({ db, log: log.log, stopping: new AbortController().signal }, 10)).toBe(25);
    const { rows } = await pool.query('select position from events order by seq');
    expect(rows.map(({ position }) => Number(position))).toEqual(Array.from({ length: 25 }, (_, n) => n + 1));
    await other.stop();
  });

  test('halves a batch that fails, until it is small enough', async () => {
    const other = await startHarness(NO_LIMITS);
    await other.sql.query(
      `alter function scsp_publish_events_v2 rename to publish;
       create function scsp_publish_events_v2(largest integer)
       returns table (published integer, more boolean, restarted boolean) language plpgsql as $$ begin
         if largest > 100 then raise 'canceling statement due to statement timeout'; end if;
         return query select * from publish(largest);
       end $$`,
    );
    await other.sql.query(`insert into events (id, type, pairing_id)
      select gen_random_uuid(), 'pairing.erased', gen_random_uuid() from generate_series(1, 250)`);
    let seen = 0;
    await followUntil(other, '0', () => ++seen === 250);
    await other.stop();
  });

  test('runs at least twice a second', () => expect(PUBLISH_TIMES.pollMs).toBeLessThanOrEqual(500));
});
