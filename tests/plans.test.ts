import { Client } from 'pg';
import { readConfig } from '../src/config';
import { pairStatement } from '../src/pairing/pair-statement';
import { OWN_STATIONS } from '../src/stations/stations';
import { createTestDatabase } from './harness';

// A plan outlives the state of the tables that it was made for: whatever that was, it must stay good for many rows.

type Node = { 'Node Type': string; 'Relation Name'?: string; 'Index Name'?: string; Plans?: Node[] };

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let sql: Client;
beforeEach(async () => {
  database = await createTestDatabase();
  sql = new Client(database.url);
  await sql.connect();
  await sql.query('set plan_cache_mode = force_generic_plan');
});
afterEach(async () => {
  await sql.end();
  await database.drop();
});

/** The indexes by which a statement finds codes and pairings, and the tables that it reads from end to end. */
async function waysOf(types: string, statement: string, values: string): Promise<string[]> {
  await sql.query(`prepare asked (${types}) as ${statement}`);
  const { rows } = await sql.query(`explain (format json) execute asked (${values})`);
  const found = new Set<string>();
  const visit = (node: Node) => {
    if (node['Index Name'] !== undefined) found.add(node['Index Name']);
    if (node['Node Type'] === 'Seq Scan') found.add(`all of ${node['Relation Name']}`);
    node.Plans?.forEach(visit);
  };
  visit(rows[0]['QUERY PLAN'][0].Plan);
  return [...found].filter((way) => /pairing/.test(way)).sort();
}
const ways = () => waysOf('jsonb, uuid', pairStatement(readConfig({})), `'[]', '${crypto.randomUUID()}'`);

const ONE_BY_ONE = ['pairing_codes_active_key', 'pairing_codes_pkey', 'pairings_active_station_uid_key'];

test('made for empty tables, the plan of a pairing finds each code and uid by its own key', async () => {
  expect(await ways()).toEqual(ONE_BY_ONE);
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
     select gen_random_uuid(), id, gen_random_uuid(), user_id, user_id, 'home' from pairing_codes where status = 'used'`,
  );
  await sql.query('vacuum analyze');
}

test.each([0, 1, 5_000])('so it does when there are many pairings and %d active codes', async (active) => {
  await fill(active);
  expect(await ways()).toEqual(ONE_BY_ONE);
});

test('a page of the stations of a CPO among many is read by their own index', async () => {
  await fill(0);
  const one = `'${crypto.randomUUID()}', '${crypto.randomUUID()}', 1000`;
  expect(await waysOf('uuid, uuid, int', OWN_STATIONS, one)).toEqual(['pairings_active_cpo_idx']);
});
