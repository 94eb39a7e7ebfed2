import { Client } from 'pg';
import { NIL } from 'uuid';
import { type AttemptFilter, attemptsPage } from '../../src/attempts/list-attempts';
import { callsPage } from '../../src/calls/calls';
import { cancelCode } from '../../src/codes/codes';
import type { Config } from '../../src/config';
import type { Context } from '../../src/context';
import { newSpan } from '../../src/contract/trace-context';
import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import type { Database } from '../../src/db/pool';
import { rowsInIndexOrder } from '../../src/db/query';
import { READ_EVENTS } from '../../src/events/events';
import { eraseDeadLettered } from '../../src/outbox/outbox';
import { limitsOf } from '../../src/pairing/limits';
import { beginAttempt } from '../../src/pairing/redemption-attempts';
import { listOwnStations, OWN_STATIONS } from '../../src/stations/stations';
import { readStoredState } from '../../src/status/read-stored-state';
import { AUDIT, CODES, EVENTS } from '../../src/users/export-sql';
import { type DeliveryStatus, listDeliveries } from '../../src/webhooks/deliveries';
import { QUEUE_BATCH } from '../../src/webhooks/redeliver';
import { createTestDatabase, SECRET_KEY } from '../harness/harness';
import { issueDirectly, pairDirectly } from '../harness/pair-function';

// A plan outlives the state of the tables that it was made for: whatever that was, it must stay good for many rows.

type Node = { 'Node Type': string; 'Relation Name'?: string; 'Index Name'?: string; Plans?: Node[] };

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let sql: Client;
beforeEach(async () => {
  database = await createTestDatabase();
  sql = new Client(database.url);
  await sql.connect();
});
afterEach(async () => {
  await sql.end();
  await database.drop();
});

const waysOf = (plan: Node) => {
  const found = new Set<string>();
  const visit = (node: Node) => {
    if (node['Index Name'] !== undefined) found.add(node['Index Name']);
    if (node['Node Type'] === 'Seq Scan') found.add(`all of ${node['Relation Name']}`);
    node.Plans?.forEach(visit);
  };
  visit(plan);
  return [...found].sort();
};

const cpoId = crypto.randomUUID();
const LIMITS = { cpoUid10Min: 5, cpoUid24H: 10, cpo10Min: 20, cpo24H: 50, perSuccess: 0.5 };
const someCodes = (prefix: string) => Array.from({ length: 8 }, (_, i) => `${prefix}${i}`);

/** Runs transactions in the one that counts. */
const onClient = {
  query: async (text: string, values?: unknown[]) => (await sql.query(text, values)).rows,
  transaction: (...args: ((tx: unknown) => unknown)[]) => args.at(-1)?.(onClient),
} as unknown as Database;

/** What some work reads, as PostgreSQL counts it: entries of indexes, and tables from end to end. */
async function readBy(work: () => Promise<void>): Promise<{ entries: number; wholeTables: string[] }> {
  const counted = async () => {
    const { rows: indexes } = await sql.query(
      'select coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0)::int as entries from pg_stat_user_indexes',
    );
    const { rows: tables } = await sql.query(
      'select relname, pg_stat_get_xact_numscans(relid)::int as n from pg_stat_user_tables',
    );
    return {
      entries: indexes[0].entries,
      scans: new Map<string, number>(tables.map(({ relname, n }) => [relname, n])),
    };
  };
  await sql.query('begin');
  const before = await counted();
  await work();
  const after = await counted();
  await sql.query('commit');
  return {
    entries: after.entries - before.entries,
    wholeTables: [...after.scans.keys()].filter((table) => after.scans.get(table) !== before.scans.get(table)),
  };
}

/** What fourteen requests of one CPO read: four pair, six have an incorrect code, and four the uid of another pairing. */
async function readByPairing(prefix: string) {
  const good = someCodes(prefix);
  const taken = { cpoId, code: `${prefix}9`, uid: `taken ${prefix}` };
  await issueDirectly(sql, [...good, taken.code]);
  const limits = { limits: '(5,10,1000,1000,0.5)' };
  await pairDirectly(sql, [taken], limits);
  return readBy(async () => {
    const requests = [...good, ...someCodes(`9${prefix}`).slice(2)].map((code, n) => ({
      ...taken,
      code,
      uid: n < 4 ? taken.uid : `${prefix} ${n}`,
    }));
    const results = await pairDirectly(sql, requests, limits);
    const outcomes = results.map(({ outcome }) => outcome).sort();
    expect(outcomes).toEqual([
      ...Array(6).fill('incorrect-code'),
      ...Array(4).fill('paired'),
      ...Array(4).fill('station-already-paired'),
    ]);
  });
}

/** A few entries for each request, however many there are. */
async function expectFewReads(prefix: string) {
  const { entries, wholeTables } = await readByPairing(prefix);
  expect(wholeTables).toEqual([]);
  expect(entries).toBeGreaterThan(14);
  expect(entries).toBeLessThan(14 * 12);
}

test.each(['new', 'emptied'])('made for %s tables, the plans of a pairing stay good', async (tables) => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  // Nothing may have the session plan anew: to analyze a table would.
  for (const table of ['pairing_codes', 'pairings', 'failed_attempts', 'events', 'attempts', 'cpo_tries'])
    await sql.query(`alter table ${table} set (autovacuum_enabled = off)`);
  if (tables === 'emptied') {
    await fill(5_000);
    await sql.query('delete from failed_attempts; delete from pairings; delete from pairing_codes');
    await sql.query('vacuum analyze');
  }
  await expectFewReads('1000');
  await fill(5_000);
  await endPairings();
  await expectFewReads('2000');
});

test.each([
  [
    'unpair',
    `select from scsp_unpair_v3('nothing', 'app', gen_random_uuid(), null, null, null) where $1::uuid is not null`,
  ],
  [
    'redeem',
    `select from scsp_redeem_v3(json_build_object('pairing_id', gen_random_uuid(), 'cpo_id', gen_random_uuid(), 'user_id', 'user',
       'charging_location_id', 'home', 'payload_protocol', 'ocpp1.6', 'uid', 'new', 'station_uid', gen_random_uuid(), 'event_id', gen_random_uuid(),
       'attempt_id', $1::uuid), '[]', '[]')`,
  ],
])('made for emptied tables, the plans of %s stay good', async (_what, call) => {
  for (const table of ['pairings', 'redemption_attempts', 'erasures'])
    await sql.query(`alter table ${table} set (autovacuum_enabled = off)`);
  await fill(0);
  await sql.query('delete from pairings');
  await sql.query('vacuum analyze');
  const attempts = async (count: number): Promise<string> => {
    const { rows } = await sql.query(
      `insert into redemption_attempts (id, user_hash)
       select gen_random_uuid(), sha256(i::text::bytea) from generate_series(1, $1) i returning id`,
      [count],
    );
    return rows[0].id;
  };
  await sql.query(call, [await attempts(1)]);
  await endPairings();
  const attempt = await attempts(5_000);
  const { wholeTables, entries } = await readBy(async () => void (await sql.query(call, [attempt])));
  expect(wholeTables).toEqual([]);
  expect(entries).toBeLessThan(100);
});

test('made when no pairing had ended, the plans of a pairing stay good', async () => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  await sql.query('alter table pairings set (autovacuum_enabled = off)');
  await fill(1);
  await sql.query('vacuum analyze');
  await expectFewReads('1000');
  await endPairings();
  await expectFewReads('2000');
});

/** Five thousand pairings that have ended. */
async function endPairings(): Promise<void> {
  await sql.query(
    `insert into pairings (id, station_uid, user_id, cpo_id, charging_location_id, paired_at, ended_at, ended_by)
     select gen_random_uuid(), 'ended ' || i, 'ended ' || i, gen_random_uuid(), 'home', now() - interval '1 hour', now(), 'app'
     from generate_series(1, 5000) i`,
  );
}

/** Ten thousand codes, of which so many are active and each other one has paired a station. */
async function fill(active: number): Promise<void> {
  await sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, expires_at, ended_at)
     select gen_random_uuid(), sha256(i::text::bytea), 6, i, 'home', case when i <= $1 then 'active' else 'used' end,
       now() + interval '10 minutes', case when i > $1 then now() end
     from generate_series(1, 10000) i`,
    [active],
  );
  await sql.query(
    `insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id)
     select gen_random_uuid(), id, gen_random_uuid(), user_id, user_id, 'home' from pairing_codes
     where status = 'used' and hash = sha256(user_id::bytea)`,
  );
  await sql.query(
    `insert into failed_attempts (cpo_id, failed_at, seq, uid_hash, code_hash)
     select cpo_id, now() - interval '23 hours', failed_count + i, sha256(i::text::bytea), ''::bytea
     from cpo_tries, generate_series(1, 900) i where cpo_id = $1
     union all
     select gen_random_uuid(), now(), 1, sha256(i::text::bytea), ''::bytea from generate_series(1, 900) i`,
    [cpoId],
  );
  await sql.query('update cpo_tries set failed_count = failed_count + 900 where cpo_id = $1', [cpoId]);
}

test.each([0, 1, 5_000])('so it does when they are made for many pairings and %d active codes', async (active) => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  await fill(active);
  await endPairings();
  await sql.query('vacuum analyze');
  await expectFewReads('3000');
});

test('the codes of a user are found by the user, although the statistics say that no code ended unpaired', async () => {
  await sql.query('alter table pairing_codes set (autovacuum_enabled = off)');
  await fill(0);
  await sql.query('delete from pairings');
  await sql.query('vacuum analyze');
  await sql.query(`update pairing_codes set status = 'expired'`);
  const { entries, wholeTables } = await readBy(async () => {
    const { rows } = await sql.query(CODES, ['1', NIL]);
    expect(rows[0].found).toHaveLength(1);
  });
  expect(wholeTables).not.toContain('pairing_codes');
  expect(entries).toBeLessThan(10);
});

test.each<[string, (ctx: Context, codeId: string) => Promise<unknown>]>([
  [
    'cancelling a code',
    (ctx, codeId) => cancelCode(ctx, codeId, { requestId: 'r', trace: newSpan(random, undefined) }),
  ],
  ['the limits of a CPO', (ctx) => limitsOf(ctx, cpoId)],
  ['a redemption', (ctx) => beginAttempt(ctx, 'a user')],
])('planned for tables without active codes or new attempts, %s reads a few entries', async (_what, work) => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  for (const table of ['pairing_codes', 'failed_attempts', 'redemption_attempts', 'pairings'])
    await sql.query(`alter table ${table} set (autovacuum_enabled = off)`);
  await fill(0);
  await sql.query('delete from failed_attempts');
  await sql.query(`
    insert into redemption_attempts (id, user_hash, began_at)
    select gen_random_uuid(), sha256(i::text::bytea), now() - interval '1 hour' from generate_series(1, 1000) i`);
  await sql.query('vacuum analyze');
  await sql.query(`update pairing_codes set status = 'active', ended_at = null`);
  await sql.query(`
    insert into failed_attempts (cpo_id, failed_at, seq, uid_hash, code_hash)
    select gen_random_uuid(), now(), 1, sha256(i::text::bytea), '' from generate_series(1, 20000) i`);
  await sql.query(`
    insert into redemption_attempts (id, user_hash)
    select gen_random_uuid(), sha256(i::text::bytea) from generate_series(1, 5000) i`);
  const { rows } = await sql.query('select id from pairing_codes limit 1');
  const config = { limits: { ...LIMITS, user10Min: 5, userCalls10Min: 20 } };
  const metrics = { codeCancelled: () => undefined };
  const ctx = { db: onClient, config, metrics, random, keys: deriveKeys(SECRET_KEY) } as unknown as Context;
  const { entries, wholeTables } = await readBy(async () => void (await work(ctx, rows[0].id)));
  expect(wholeTables.filter((table) => !['cpos', 'cpo_tries'].includes(table))).toEqual([]);
  expect(entries).toBeLessThan(100);
});

test.each([
  ['events', EVENTS],
  ['audit entries', AUDIT],
])('a page of the %s to export does not read all codes and pairings', async (_what, statement) => {
  await fill(0);
  await sql.query(`
    insert into events (id, type, code_id, pairing_id, cpo_id)
      select gen_random_uuid(), 'station.paired', code_id, id, cpo_id from pairings where user_id::int <= 4000;
    insert into audit (id, actor, action, subject_id) select gen_random_uuid(), 'a test', 'station.unpair', id from pairings where user_id::int <= 4000`);
  await sql.query('vacuum analyze');
  const { entries, wholeTables } = await readBy(async () => {
    const { rows } = await sql.query(statement, ['7', NIL]);
    expect(rows[0].found).toHaveLength(1);
  });
  expect(wholeTables.filter((table) => !['events', 'audit', 'webhook_endpoints'].includes(table))).toEqual([]);
  // Of each of 4,000 rows its code and its pairing.
  expect(entries).toBeLessThan(3 * 4_000);
});

test('events of a type are found without reading those of others', async () => {
  await sql.query(
    `insert into events (id, type, seq, position)
     select gen_random_uuid(), case i % 2 when 0 then 'station.paired' else 'station.unpaired' end, i, i
     from generate_series(1, 10000) i`,
  );
  await sql.query('insert into event_feed (last_position) values (10000)');
  await sql.query('vacuum analyze');
  const { entries, wholeTables } = await readBy(async () => {
    const { rows } = await sql.query(READ_EVENTS, [null, ['pairing.refused'], null, 100]);
    expect(rows).toHaveLength(1);
  });
  expect(wholeTables).not.toContain('events');
  expect(entries).toBeLessThan(100);
});

test('a page of the stations of a CPO among many is read by their own index', async () => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  await fill(0);
  await sql.query('vacuum analyze');
  await sql.query('set plan_cache_mode = force_generic_plan');
  await sql.query(`prepare asked (uuid, uuid, int) as ${OWN_STATIONS}`);
  const { rows } = await sql.query(
    `explain (format json) execute asked ('${crypto.randomUUID()}', '${crypto.randomUUID()}', 1000)`,
  );
  expect(waysOf(rows[0]['QUERY PLAN'][0].Plan).filter((way) => /pairing/.test(way))).toEqual([
    'pairings_active_cpo_idx',
  ]);
});

test('a page of the stations of a CPO with only recent pairings reads none of the older ones', async () => {
  await fill(0);
  await sql.query(
    `insert into stations (pairing_id, uid, payload_protocol) select id, station_uid, 'ocpp2.0.1' from pairings`,
  );
  await sql.query(`update pairings set cpo_id = $1 where id > 'c0000000-0000-4000-8000-000000000000'`, [cpoId]);
  await sql.query(
    `update pairings set ended_at = now(), ended_by = 'app' where id < 'c0000000-0000-4000-8000-000000000000'`,
  );
  await sql.query('vacuum analyze');
  const { entries, wholeTables } = await readBy(async () => {
    expect(await listOwnStations(onClient, false, cpoId, NIL, 5)).toHaveLength(5);
  });
  expect(wholeTables).toEqual([]);
  expect(entries).toBeLessThan(50);
});

test('forgetting a pairing reads its own dead-lettered notification, however many there are', async () => {
  await fill(0);
  await sql.query(`insert into cpos (id, name, base_url) values ($1, 'plans', 'https://volt.example')`, [cpoId]);
  await sql.query(
    `insert into outbox (pairing_id, cpo_id, payload_protocol, uid, gave_up_at)
     select id, $1, 'ocpp1.6', station_uid, now() from pairings`,
    [cpoId],
  );
  await sql.query('vacuum analyze');
  const { rows } = await sql.query('select pairing_id as id from outbox limit 1');
  const { entries, wholeTables } = await readBy(async () => eraseDeadLettered(onClient, [rows[0].id]));
  expect(wholeTables).toEqual([]);
  expect(entries).toBeLessThan(10);
  expect((await sql.query('select from outbox where uid is null')).rowCount).toBe(1);
});

describe('with many attempts of many CPOs', () => {
  const planOf = async ([text, values]: readonly [string, readonly unknown[]]) => {
    const { rows } = await sql.query(`explain (format json) ${text}`, [...values]);
    return waysOf(rows[0]['QUERY PLAN'][0].Plan).filter((way) => /attempts/.test(way));
  };
  const before = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

  beforeEach(async () => {
    await sql.query(
      `insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
       select gen_random_uuid(), case when i % 2 = 0 then $1 else gen_random_uuid() end,
         case when i % 10 = 0 then 'always the same' else 'r-' || i end, 'ocpp2.0.1', 'S-' || i % 5000,
         case when i % 3 = 0 then 'incorrect-code' else 'paired' end
       from generate_series(1, 30000) i`,
      [cpoId],
    );
  });

  test.each(['with', 'without'])('each filter reads a page by its own index, %s statistics', async (statistics) => {
    if (statistics === 'with') await sql.query('vacuum analyze attempts');
    // As `rowsInIndexOrder` does. A table of this size may also be read as a whole.
    await sql.query('set enable_bitmapscan = off; set enable_seqscan = off');
    const cases: [AttemptFilter, string][] = [
      [{}, 'attempts_pkey'],
      [{ outcome: 'paired' }, 'attempts_pkey'],
      [{ outcome: 'incorrect-code' }, 'attempts_refused_idx'],
      [{ outcome: 'body-too-large' }, 'attempts_refused_idx'],
      [{ requestId: 'r-7' }, 'attempts_request_idx'],
      [{ requestId: 'always the same' }, 'attempts_request_idx'],
      [{ uid: 's-7' }, 'attempts_uid_key_idx'],
      [{ uid: 's-7', requestId: 'always the same', outcome: 'paired' }, 'attempts_uid_key_idx'],
      [{ requestId: 'always the same', outcome: 'body-too-large' }, 'attempts_request_idx'],
    ];
    for (const [filter, index] of cases) {
      const { page, last } = attemptsPage(cpoId, before, 51, filter);
      expect([filter, await planOf(page)]).toEqual([filter, [index]]);
      if (last !== undefined) expect([filter, await planOf(last)]).toEqual([filter, [index]]);
    }
  });
});

test('a page of the calls to a CPO among many is read by its key, or by their request id', async () => {
  await sql.query(
    `insert into cpos (id, name) select case when i = 1 then $1 else gen_random_uuid() end, 'plans ' || i
     from generate_series(1, 50) i`,
    [cpoId],
  );
  await sql.query(
    `insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, duration_ms, outcome)
     select gen_random_uuid(), c.id, now(), 'pair', 'ocpp2.0.1', gen_random_uuid(), 1, 'answered'
     from cpos c cross join generate_series(1, 400) i`,
  );
  await sql.query('vacuum analyze calls');
  const last = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  for (const [text, values, index] of [
    [callsPage(), [cpoId, last, 51], 'calls_pkey'],
    [callsPage('and request_id = $4'), [cpoId, last, 51, 'r'], 'calls_request_idx'],
  ] as const) {
    const { rows } = await sql.query(`explain (format json) ${text}`, [...values]);
    expect(waysOf(rows[0]['QUERY PLAN'][0].Plan)).toEqual([index]);
  }
});

test('a claim of webhook deliveries, planned for empty tables, reads a few entries for each of them, however many there are', async () => {
  const claim = async () => (await sql.query(`select from scsp_claim_deliveries_v1(512, '{}', 10, 5, 30)`)).rows.length;
  expect(await claim()).toBe(0);
  await sql.query(`
    insert into events (id, type, position) select gen_random_uuid(), 'cpo.notified', n from generate_series(1, 20000) n;
    insert into webhook_endpoints (id, app_name, url) select gen_random_uuid(), 'app', 'https://8.8.8.8/' from generate_series(1, 3);
    insert into webhook_deliveries (endpoint_id, position, status)
    select id, n, case when n > 15000 then 'pending' else 'delivered' end from webhook_endpoints, generate_series(1, 20000) n;
    analyze`);
  const { entries, wholeTables } = await readBy(async () => expect(await claim()).toBe(30));
  expect(wholeTables).toEqual([]);
  expect(entries).toBeGreaterThan(30);
  expect(entries).toBeLessThan(30 * 10);
});

describe('of webhook endpoints with many deliveries, whose events are of two frequent types', () => {
  const [busy, idle, disabled, waiting] = Array.from({ length: 4 }, () => crypto.randomUUID());
  const page = (id = '', status?: DeliveryStatus) =>
    readBy(async () => void (await listDeliveries(onClient, { id, app: 'app' }, status, '20001', 5)));

  beforeEach(async () => {
    await sql.query(
      `insert into webhook_endpoints (id, app_name, url, status, disabled_after)
       select id, 'app', 'https://8.8.8.8/', case id when $2 then 'disabled' else 'enabled' end, case id when $2 then 1000 end
       from unnest($1::uuid[]) id`,
      [[busy, idle, disabled, waiting], disabled],
    );
    await sql.query(
      `insert into events (id, type, position)
       select gen_random_uuid(), case n % 2 when 0 then 'cpo.notified' else 'station.paired' end, n from generate_series(1, 20000) n`,
    );
    await sql.query('insert into event_feed (last_position) values (20000)');
    await sql.query(
      `insert into webhook_deliveries (endpoint_id, position, status)
       select $1::uuid, n, case n % 2000 when 0 then 'failed' when 1 then 'pending' when 2 then 'skipped' else 'delivered' end
       from generate_series(1, 20000) n
       union all select $2, n, 'delivered' from generate_series(1, 20000) n
       union all select $3, n, 'pending' from generate_series(1, 20000) n`,
      [busy, idle, waiting],
    );
    await sql.query('vacuum analyze');
  });

  test.each([undefined, 'pending', 'delivered', 'failed', 'skipped'] as const)(
    'a page reads few entries: %s',
    async (status) => {
      for (const id of status === 'delivered' ? [busy, idle] : [busy, idle, disabled]) {
        const { entries, wholeTables } = await page(id, status);
        expect(wholeTables).not.toContain('events');
        expect([id, entries < 150, entries]).toEqual([id, true, entries]);
      }
      // One that waits for all of them: only an index by position could help, which each delivery would pay for.
      const { entries } = await page(waiting, status);
      const inOrder = status !== 'pending' && status !== 'delivered';
      expect([entries < (inOrder ? 150 : 20_000 + 150), entries]).toEqual([true, entries]);
    },
  );

  test('a batch of a redelivery reads few entries besides those that it queues', async () => {
    await sql.query(
      `update webhook_endpoints set redeliver_after = 100, redeliver_until = 20000, redeliver_since = now() - interval '1 day'
       where id = $1`,
      [idle],
    );
    await sql.query('vacuum analyze webhook_endpoints');
    const { entries } = await readBy(
      async () => void (await rowsInIndexOrder(onClient, QUEUE_BATCH, [idle, ['station.paired', 'pairing.erased']])),
    );
    expect(entries).toBeLessThan(500 * 6);
  });
});

describe('the stored state of a large deployment', () => {
  /** They have a row for each CPO, token, app, replica or length, of which there are few. */
  const SMALL = ['active_code_counts', 'cpo_tries', 'cpos', 'replicas', 'tokens', 'webhook_endpoints'];

  /** Thousands of rows of each large table, of which all wait, or none. */
  async function fillQueues(waits: boolean): Promise<void> {
    await sql.query(`insert into cpos (id, name, base_url) values ($1, 'plans', 'https://volt.example')`, [cpoId]);
    await sql.query(
      `insert into pairing_codes (id, hash, length, status, expires_at)
       select gen_random_uuid(), sha256(i::text::bytea), 6, case when $1 then 'active' else 'used' end, now() + interval '1 hour'
       from generate_series(1, 12000) i`,
      [waits],
    );
    await sql.query(
      `insert into outbox (cpo_id, payload_protocol, uid, gave_up_at)
       select $1, 'ocpp1.6', i, case when i % 2 = 0 or not $2 then now() end from generate_series(1, 12000) i`,
      [cpoId, waits],
    );
    await sql.query(
      `insert into events (id, type, position, published_at)
       select gen_random_uuid(), 'cpo.notified', case when not $1 then i end, now() from generate_series(1, 12000) i`,
      [waits],
    );
    await sql.query(`insert into webhook_endpoints (id, app_name, url) values ($1, 'app', 'https://8.8.8.8/')`, [
      cpoId,
    ]);
    await sql.query(
      `insert into webhook_deliveries (endpoint_id, position, status)
       select $1, i, case when $2 then 'pending' else 'delivered' end from generate_series(1, 12000) i`,
      [cpoId, waits],
    );
    await sql.query(
      `insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, duration_ms, outcome)
       select ('0190' || substr(md5(i::text), 5))::uuid, $1, now() - interval '1 day', 'pair', 'ocpp2.0.1', '', 1, 'answered'
       from generate_series(1, 12000) i`,
      [cpoId],
    );
    if (waits)
      await sql.query(
        `insert into erasures (pairing_id, station_uid) select gen_random_uuid(), i from generate_series(1, 12000) i`,
      );
    await sql.query('analyze');
  }
  const read = () => readBy(async () => void (await readStoredState({ db: onClient, config }, async () => [])));
  const config = { limits: LIMITS } as Config;

  test('is read by its indexes, each queue to 10,000 entries at most', async () => {
    await fillQueues(true);
    const { entries, wholeTables } = await read();
    expect(wholeTables.filter((table) => !SMALL.includes(table))).toEqual(['erasures']);
    expect(entries).toBeLessThan(6 * 10_000);
  });

  test('is read by a few entries when nothing waits, although the statistics say that everything does', async () => {
    await fillQueues(true);
    await sql.query(`
      update pairing_codes set status = 'used'; delete from outbox;
      update events set position = seq where position is null;
      update webhook_deliveries set status = 'delivered'; delete from erasures`);
    await sql.query('vacuum');
    const { entries, wholeTables } = await read();
    expect(wholeTables.filter((table) => !SMALL.includes(table))).toEqual(['erasures']);
    expect(entries).toBeLessThan(200);
  });
});
