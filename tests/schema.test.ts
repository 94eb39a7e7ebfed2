import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { migrate } from '../src/db/migrate';
import { model } from '../src/model';
import { createTestDatabase } from './harness';

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let source: DataSource;
beforeEach(async () => {
  database = await createTestDatabase();
  source = await new DataSource({
    type: 'postgres',
    url: database.url,
    installExtensions: false,
    ...model,
  }).initialize();
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
  for (const _ of model.migrations) await source.undoLastMigration();
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
  for (const _ of model.migrations) await source.undoLastMigration();
  const counts = await Promise.all(Array.from({ length: 5 }, () => migrate(database.url, model)));
  expect(counts.sort()).toEqual([0, 0, 0, 0, model.migrations.length]);
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
