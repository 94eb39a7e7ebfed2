import { Client } from 'pg';
import { migrate } from '../../src/db/migrate';
import { createDataSource, type Database } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { createTestDatabase } from '../harness/harness';
import { until } from '../harness/until';

// Migrations of tables in use, as replicas of this version and of the one before run beside them.

const MIGRATION = 'ReconcileAndOperate1764000000010';
const FORMER_MIGRATION_LOCK = 7_305_001;

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let source: Database;
let clients: Client[];
const connect = async () => {
  const client = new Client(database.url);
  clients.push(client);
  await client.connect();
  return client;
};
beforeEach(async () => {
  clients = [];
  database = await createTestDatabase();
  source = await createDataSource(database.url, schema, {}).initialize();
  const isDone = async () =>
    (await source.query('select name from migrations')).some(({ name }: { name: string }) => name === MIGRATION);
  while (await isDone()) await source.undoLastMigration();
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await source.destroy();
  await database.drop();
});

const isValid = async () =>
  (
    await source.query(
      `select indisvalid and indisready as valid from pg_index where indexrelid = to_regclass('pairings_active_cpo_idx')`,
    )
  )[0]?.valid;

/** The index waits for whoever has looked at the tables as they were before. */
const isBuilding = async () =>
  (
    await source.query(
      `select from pg_stat_activity where datname = current_database() and query ~ 'create index concurrently'
         and wait_event = 'virtualxid'`,
    )
  ).length > 0;

/** The migration asks for a lock that somebody else has. */
const isTried = async (...tables: string[]) =>
  (
    await source.query(
      `select from pg_locks where relation = any ($1::regclass[]) and mode = 'AccessExclusiveLock' and not granted`,
      [tables],
    )
  ).length > 0;

test('while a backup reads what pairing counts in, pairings go on and the migration waits for its end', async () => {
  const [backup, caller] = [await connect(), await connect()];
  await backup.query('begin; lock table cpo_tries in access share mode');
  const migrating = migrate(database.url, schema);
  for (let times = 0; times < 3; times += 1) {
    expect(
      await until(
        (tried) => tried,
        () => isTried('cpo_tries'),
        10_000,
      ),
    ).toBe(true);
    await caller.query(`set lock_timeout = '1s'; update cpo_tries set minute = minute`);
  }
  await backup.query('commit');
  expect(await migrating).toBeGreaterThan(0);
  expect(await source.query(`select from pg_proc where proname = 'scsp_pair_v1'`)).toHaveLength(1);
});

test('while a backup reads, pairings go on and the migration waits for its end', async () => {
  const [backup, caller] = [await connect(), await connect()];
  await backup.query('begin; lock table pairings, cpos in access share mode');
  const migrating = migrate(database.url, schema);
  for (let times = 0; times < 3; times += 1) {
    expect(
      await until(
        (tried) => tried,
        () => isTried('cpos', 'pairings'),
        10_000,
      ),
    ).toBe(true);
    await caller.query(`set lock_timeout = '1s'; update cpos set name = name; update pairings set ended_at = ended_at`);
  }
  expect(await isValid()).toBeUndefined();
  await backup.query('commit');
  expect(await migrating).toBeGreaterThan(0);
  expect(await isValid()).toBe(true);
});

test('replicas of either version that start meanwhile neither stop it nor wait for each other', async () => {
  const [reader, former] = [await connect(), await connect()];
  await reader.query('begin isolation level repeatable read; select from tokens');
  const migrating = [migrate(database.url, schema), migrate(database.url, schema)];
  expect(await until((building) => building, isBuilding, 10_000)).toBe(true);
  await former.query('select pg_advisory_lock($1)', [FORMER_MIGRATION_LOCK]);
  await reader.query('commit');
  await former.query('select pg_advisory_unlock($1)', [FORMER_MIGRATION_LOCK]);
  expect((await Promise.all(migrating)).sort()).toEqual([0, expect.any(Number)]);
  expect(await isValid()).toBe(true);
});

test('an index of which the building was interrupted is built anew', async () => {
  await source.query('create index pairings_active_cpo_idx on pairings (cpo_id)');
  await source.query(`update pg_index set indisvalid = false where indexrelid = 'pairings_active_cpo_idx'::regclass`);
  await migrate(database.url, schema);
  expect(await isValid()).toBe(true);
  const [{ indexdef }] = await source.query(
    `select indexdef from pg_indexes where indexname = 'pairings_active_cpo_idx'`,
  );
  expect(indexdef).toContain('(cpo_id, id)');
});

test('a database that a build before 0.2.0 has migrated gets the functions of this version', async () => {
  await migrate(database.url, schema);
  const definition = async (): Promise<string> =>
    (await source.query(`select pg_get_functiondef('scsp_issue_codes_v1'::regproc) as text`))[0].text;
  const current = await definition();
  await source.query(current.replaceAll(`'retry'`, `'again'`));
  expect(await definition()).not.toBe(current);
  await source.query(`delete from migrations where name = 'FunctionsOf0201764000000013'`);
  await migrate(database.url, schema);
  expect(await definition()).toBe(current);
});
