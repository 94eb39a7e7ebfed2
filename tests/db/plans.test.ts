import { Client } from 'pg';
import { OWN_STATIONS } from '../../src/stations/stations';
import { createTestDatabase } from '../harness/harness';
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
const someCodes = (prefix: string) => Array.from({ length: 8 }, (_, i) => `${prefix}${i}`);

/** What sixteen requests of one CPO read, as PostgreSQL counts it: entries of indexes, and tables from end to end. */
async function readByPairing(prefix: string): Promise<{ entries: number; wholeTables: string[] }> {
  const good = someCodes(prefix);
  await issueDirectly(sql, good);
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
  const requests = [...good, ...someCodes(`9${prefix}`)].map((code) => ({ cpoId, code }));
  const results = await pairDirectly(sql, requests, { limits: '(5,10,1000,1000,0.5)' });
  const after = await counted();
  await sql.query('commit');
  expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set(['paired', 'incorrect-code']));
  return {
    entries: after.entries - before.entries,
    wholeTables: [...after.scans.keys()].filter((table) => after.scans.get(table) !== before.scans.get(table)),
  };
}

/** A few entries for each request, however many there are. */
async function expectFewReads(prefix: string) {
  const { entries, wholeTables } = await readByPairing(prefix);
  expect(wholeTables).toEqual([]);
  expect(entries).toBeGreaterThan(16);
  expect(entries).toBeLessThan(16 * 10);
}

test('made for empty tables, the plans of a pairing find everything by its own key, and go on to do so', async () => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  await expectFewReads('1000');
  await fill(1);
  // The same session: its plans were made for empty tables.
  await expectFewReads('2000');
});

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
     select $1, now() - interval '23 hours', i, sha256(i::text::bytea), '' from generate_series(1, 900) i`,
    [cpoId],
  );
  await sql.query('update cpo_tries set failed_count = 900 where cpo_id = $1', [cpoId]);
  await sql.query('vacuum analyze');
}

test.each([0, 1, 5_000])('so it does when they are made for many pairings and %d active codes', async (active) => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  await fill(active);
  await expectFewReads('3000');
});

test('a page of the stations of a CPO among many is read by their own index', async () => {
  await sql.query(`insert into cpos (id, name) values ($1, 'plans')`, [cpoId]);
  await fill(0);
  await sql.query('set plan_cache_mode = force_generic_plan');
  await sql.query(`prepare asked (uuid, uuid, int) as ${OWN_STATIONS}`);
  const { rows } = await sql.query(
    `explain (format json) execute asked ('${crypto.randomUUID()}', '${crypto.randomUUID()}', 1000)`,
  );
  expect(waysOf(rows[0]['QUERY PLAN'][0].Plan).filter((way) => /pairing/.test(way))).toEqual([
    'pairings_active_cpo_idx',
  ]);
});
