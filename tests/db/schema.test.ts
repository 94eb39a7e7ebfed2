import { Client } from 'pg';
import { migrate } from '../../src/db/migrate';
import { createDataSource, type Database } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { createTestDatabase } from '../harness/harness';

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let source: Database;
beforeEach(async () => {
  database = await createTestDatabase();
  source = await createDataSource(database.url, schema, {}).initialize();
});
afterEach(async () => {
  await source.destroy();
  await database.drop();
});

/** Every table, column, constraint, index, function and trigger, as PostgreSQL itself describes them. */
const snapshot = async () =>
  JSON.stringify([
    await source.query(`select table_name, column_name, data_type, is_nullable, column_default, datetime_precision
      from information_schema.columns where table_schema = 'public' and table_name <> 'migrations' order by 1, 2`),
    await source.query(`select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
      where connamespace = 'public'::regnamespace and conrelid::regclass::text <> 'migrations' order by 1, 2`),
    await source.query(
      `select indexdef from pg_indexes where schemaname = 'public' and tablename <> 'migrations' order by 1`,
    ),
    await source.query(`select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by 1`),
    await source.query(`select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1`),
  ]);

test('the migrations go up, down to nothing, and up to the same again', async () => {
  const up = await snapshot();
  for (const _ of schema.migrations) await source.undoLastMigration();
  expect(await snapshot()).toBe(JSON.stringify([[], [], [], [], []]));
  await source.runMigrations();
  expect(await snapshot()).toBe(up);
});

test('the tables are what the entities say, to the last index and constraint', async () => {
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  expect(upQueries.map(({ query }) => query)).toEqual([]);
});

test('drift is noticed', async () => {
  await source.query('alter table pairings alter column cpo_id drop not null');
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  expect(upQueries.length).toBeGreaterThan(0);
});

test('of many that start at once exactly one migrates', async () => {
  for (const _ of schema.migrations) await source.undoLastMigration();
  const counts = await Promise.all(Array.from({ length: 5 }, () => migrate(database.url, schema)));
  expect(counts.sort()).toEqual([0, 0, 0, 0, schema.migrations.length]);
});

test('the index on attempts is built while stations are paired and a replica of an earlier version starts', async () => {
  const indexed = async () =>
    (await source.query(`select to_regclass('attempts_uid_key_idx') as name`))[0].name !== null;
  while (await indexed()) await source.undoLastMigration();
  const [pairing, other] = [new Client(database.url), new Client(database.url)];
  await Promise.all([pairing.connect(), other.connect()]);
  await pairing.query('begin');
  await pairing.query('lock table attempts in row exclusive mode');
  const migrating = migrate(database.url, schema);
  while (!(await indexed()));
  // The build waits for the transaction above; what comes after it must not wait for the build.
  await other.query(`insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
    values (gen_random_uuid(), gen_random_uuid(), '', 'ocpp1.6', 'WALLBOX-I', 'paired')`);
  await other.query('select pg_advisory_lock(7305001)');
  await pairing.query('commit');
  expect(await migrating).toBeGreaterThan(0);
  expect(
    await source.query(`select indisvalid from pg_index where indexrelid = 'attempts_uid_key_idx'::regclass`),
  ).toEqual([{ indisvalid: true }]);
  await Promise.all([pairing.end(), other.end()]);
});

test('a build of the index that was interrupted is begun anew', async () => {
  const indexed = async () =>
    (await source.query(`select to_regclass('attempts_uid_key_idx') as name`))[0].name !== null;
  while (await indexed()) await source.undoLastMigration();
  await source.query('create index attempts_uid_key_idx on attempts (id)');
  expect(await migrate(database.url, schema)).toBeGreaterThan(0);
  const [{ definition }] = await source.query(`select pg_get_indexdef('attempts_uid_key_idx'::regclass) as definition`);
  expect(definition).toContain('(lower((uid COLLATE "C")), cpo_id, id)');
});

test('every constraint and index has a name of ours', async () => {
  const client = new Client(database.url);
  await client.connect();
  const { rows } = await client.query(
    `select conname as name from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'
     and conrelid <> 'migrations'::regclass
     union select indexname from pg_indexes where schemaname = 'public' and tablename <> 'migrations'`,
  );
  await client.end();
  for (const { name } of rows) expect(name).toMatch(/_(pkey|key|fkey|check|idx)$/);
});
