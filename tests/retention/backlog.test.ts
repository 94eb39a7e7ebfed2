import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { readConfig } from '../../src/config';
import { createDataSource, type Database } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { uuidAt } from '../../src/db/uuid-at';
import { countDue, readRetentionBacklog } from '../../src/retention/backlog';
import { runRetention } from '../../src/retention/retention';
import { parametersOf, type RetentionRule, removeBatch } from '../../src/retention/rule';
import { RULES } from '../../src/retention/rules';
import { createTestDatabase, recordedLog } from '../harness/harness';

const config = readConfig({});
const KEPT_DAYS = { pairings: 730, codes: 31, events: 30, attempts: 30 };

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let db: Database;
let sql: Client;
beforeEach(async () => {
  database = await createTestDatabase();
  db = await createDataSource(database.url, schema, {}).initialize();
  sql = new Client(database.url);
  await sql.connect();
});
afterEach(async () => {
  await Promise.all([sql.end(), db.destroy()]);
  await database.drop();
});

const backlog = async () => {
  const tables = await readRetentionBacklog({ config, db });
  return Object.fromEntries(tables.filter(({ rows }) => rows > 0).map(({ table, rows }) => [table, rows]));
};
const run = () =>
  runRetention({ config, db, log: recordedLog().log, stopping: new AbortController().signal }, async () => {});

/** Notifications are dead-lettered seldom. */
const DEAD_LETTERED = 1_000;

/**
 * Fills the tables that grow: of each so many rows, the older `due` of which are due. Ids of attempts and calls are UUIDv7,
 * others in the order of time, too.
 */
async function fill(rows: number, due: number): Promise<void> {
  const id = (n: string) => `('${randomUUID().slice(0, 4)}' || lpad(to_hex(${n}), 28, '0'))::uuid`;
  const idOf = (instant: string) => `(left(${uuidAt(instant)}::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;
  const age = (days: number | string) =>
    `case when n <= ${due} then interval '1 minute' else interval '-1 day' end + interval '${days} days'`;
  const ago = (days: number | string) => `now() - (${age(days)})`;
  const of = `from generate_series(1, ${rows}) n`;
  await sql.query(`
    insert into cpos (id, name) select gen_random_uuid(), 'CPO ' || n from generate_series(1, 20) n;
    create temporary view any_cpo as select array_agg(id) as ids from cpos;
    insert into attempts (id, cpo_id, attempted_at, request_id, payload_protocol, uid, outcome)
      select ${idOf(ago(KEPT_DAYS.attempts))}, ids[n % 20 + 1], ${ago(KEPT_DAYS.attempts)}, 'r', 'ocpp2.0.1', 'uid ' || n, 'incorrect-code' ${of}, any_cpo;
    insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, duration_ms, outcome)
      select ${idOf(ago(7))}, ids[n % 20 + 1], ${ago(7)}, 'pair', 'ocpp2.0.1', 'r', 1, 'answered' ${of}, any_cpo;
    insert into failed_attempts (cpo_id, failed_at, seq, uid_hash, code_hash)
      select ids[n % 20 + 1], ${ago(0)} - interval '25 hours', n, sha256(n::text::bytea), '' ${of}, any_cpo;
    insert into idempotency_keys (cpo_id, path, key, body_hash, created_at, lease_until, request_id)
      select ids[n % 20 + 1], '/', n, '', ${ago(1)}, now(), 'r' ${of}, any_cpo;
    insert into redemption_attempts (id, user_hash, began_at)
      select gen_random_uuid(), sha256(n::text::bytea), ${ago(1)} ${of};
    insert into events (id, type, position, published_at)
      select gen_random_uuid(), 'pairing_code.expired', n, ${ago(KEPT_DAYS.events)} ${of};
    insert into events (id, type, seq, occurred_at)
      select gen_random_uuid(), 'code.issued', null, ${ago(KEPT_DAYS.events)} ${of};
    insert into event_feed default values;
    update event_feed set deleted_position = ${due}, last_position = ${rows};
    insert into webhook_endpoints (id, app_name, url) select gen_random_uuid(), 'app', 'https://8.8.8.8/';
    insert into webhook_deliveries (endpoint_id, position, status) select id, n, 'delivered' from webhook_endpoints, generate_series(1, ${rows}) n;
    insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, expires_at, ended_at)
      select ${id('n')}, sha256(n::text::bytea), 6, 'u' || n, 'l', case when n % 2 = 0 then 'expired' else 'cancelled' end, ${ago(KEPT_DAYS.codes)}, ${ago(KEPT_DAYS.codes)} ${of};
    insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at, ended_at)
      select ${id('n')}, ids[n % 20 + 1], 'uid ' || n, 'u' || n, 'l', ${ago(KEPT_DAYS.pairings + 1)}, ${ago(KEPT_DAYS.pairings)} ${of}, any_cpo;
    insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
      select gen_random_uuid(), ids[n % 20 + 1], 'uid ' || n, 'u' || n, 'l' ${of}, any_cpo;
    insert into outbox (cpo_id, payload_protocol, gave_up_at)
      select ids[n % 20 + 1], 'ocpp2.0.1', ${ago(KEPT_DAYS.pairings)} from generate_series(1, ${Math.min(rows, DEAD_LETTERED)}) n, any_cpo`);
}

const GROWING = {
  attempts: 1,
  calls: 1,
  failed_attempts: 1,
  idempotency_keys: 1,
  redemption_attempts: 1,
  events: 2,
  webhook_deliveries: 1,
  pairing_codes: 1,
  pairings: 1,
  outbox: 1,
};
const times = (count: number) => Object.fromEntries(Object.entries(GROWING).map(([table, n]) => [table, n * count]));

test('the backlog is what is due and not removed yet, of every table', async () => {
  await fill(30, 7);
  expect(await backlog()).toEqual(times(7));
  await run();
  expect(await backlog()).toEqual({});
  expect((await readRetentionBacklog({ config, db })).map(({ table }) => table).sort()).toEqual(
    [...new Set(RULES.map(({ table }) => table))].sort(),
  );
});

test('counting stops at 10,000 rows of a table', async () => {
  await fill(12_000, 11_000);
  const all = Object.fromEntries(Object.keys(GROWING).map((table) => [table, 10_000]));
  expect(await backlog()).toEqual({ ...all, outbox: DEAD_LETTERED });
});

type Node = { 'Node Type': string; 'Relation Name'?: string; Plans?: Node[] } & Record<string, unknown>;
const nodesOf = (plan: Node): Node[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];

/** Plans a statement of a rule as `rowsInIndexOrder` does, runs it and takes it back; returns the nodes of the plan. */
async function explain(rule: RetentionRule, statement: string): Promise<Node[]> {
  const [days] = parametersOf(rule, config);
  await sql.query(`begin; set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off`);
  const { rows } = await sql.query(`explain (analyze, format json) ${statement.replaceAll('$1', String(days))}`);
  await sql.query('rollback');
  return nodesOf(rows[0]['QUERY PLAN'][0].Plan);
}

/** How many rows of tables the scans of a plan have read, those that a filter left out included. */
const readBy = (nodes: readonly Node[], table?: string) =>
  nodes
    .filter((node) => node['Relation Name'] !== undefined && (table === undefined || node['Relation Name'] === table))
    .filter((node) => node['Node Type'] !== 'ModifyTable')
    .map(
      (node) =>
        (Number(node['Actual Rows']) + Number(node['Rows Removed by Filter'] ?? 0)) * Number(node['Actual Loops']),
    )
    .reduce((sum, rows) => sum + rows, 0);

const dueOf = (rule: RetentionRule, limit: number) => `select count(*) from (${rule.due(limit)}) due`;

/** Those without an index for it: tables of few rows, and one that this version does not fill. */
const READ_AS_A_WHOLE = [
  'webhook_endpoints',
  'webhook_gaps',
  'webhook_secrets',
  'certification_runs',
  'redemptions',
  'cpos',
  'event_feed',
];

test.each(['with', 'without'])('each rule finds what is due among many rows, %s statistics', async (statistics) => {
  await fill(20_000, 50);
  if (statistics === 'with') await sql.query('analyze');
  for (const rule of RULES) {
    const found = await explain(rule, dueOf(rule, 100));
    // 20 CPOs, of each of which a rule may read 100 rows, or 200 rows and their uids.
    expect([rule.name, readBy(found) < 10_000]).toEqual([rule.name, true]);
    const removed = await explain(rule, rule.remove ?? removeBatch(rule));
    const whole = removed.filter((node) => node['Node Type'] === 'Seq Scan').map((node) => node['Relation Name'] ?? '');
    expect([rule.name, whole.filter((table) => !READ_AS_A_WHOLE.includes(table))]).toEqual([rule.name, []]);
  }
});

test('of attempts and calls only those that are due are read, and of events the oldest one', async () => {
  await fill(5_000, 60);
  const read = async (name: string) => {
    const rule = RULES.find((one) => one.name === name);
    if (rule === undefined) throw new Error('there is no such rule');
    return readBy(await explain(rule, countDue(rule)), name);
  };
  expect([await read('attempts'), await read('calls')]).toEqual([60, 60]);
  await run();
  expect([await read('attempts'), await read('calls'), await read('events')]).toEqual([0, 0, 1]);
});
