import { Client } from 'pg';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { buildIndexes } from '../../migrations/build-indexes';
import { withShortLocks } from '../../migrations/with-short-locks';
import { migrate } from '../../src/db/migrate';
import { createDataSource, type Database } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { createTestDatabase } from '../harness/harness';
import { feltLocksOf } from '../harness/migration-locks';
import { until } from '../harness/until';

// Callers wait for nothing but locks of a moment while a migration runs. CONTRIBUTING.md says how to write one.

/** The migrations before were released, or have landed, and are never edited. */
const FIRST = 24;

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let source: Database;
beforeAll(async () => {
  database = await createTestDatabase();
  source = await createDataSource(database.url, schema, {}).initialize();
});
afterAll(async () => {
  await source.destroy();
  await database.drop();
});

const migrationOf = (up: (runner: QueryRunner) => Promise<unknown>, transaction?: boolean): MigrationInterface => ({
  up: async (runner) => void (await up(runner)),
  down: async () => {},
  ...(transaction !== undefined && { transaction }),
});
const plainly = (sql: string) => migrationOf((runner) => runner.query(sql), false);
const shortly = (sql: string) => migrationOf((runner) => withShortLocks(runner, sql), false);

test('no migration has locks that callers feel', async () => {
  for (const _ of schema.migrations) await source.undoLastMigration();
  const felt: Record<number, string[]> = {};
  for (const Migration of schema.migrations) {
    const number = Number(Migration.name.slice(-3));
    felt[number] = await feltLocksOf(source, new Migration());
  }
  // It does see them: this one builds indexes of existing tables in one transaction.
  expect(felt[5]).toContain('pairing_codes: read under AccessExclusiveLock and ShareLock');
  for (const [number, locks] of Object.entries(felt))
    if (Number(number) >= FIRST) expect([number, locks]).toEqual([number, []]);
});

const CHECK = 'add constraint pairings_sample_check check (user_id is null or length(user_id) < 200)';

test.each<[string, MigrationInterface, string]>([
  [
    'builds an index and blocks all that writes meanwhile',
    plainly('create index sample_1_idx on pairings (cpo_id)'),
    'pairings: read under ShareLock',
  ],
  [
    'builds a unique index for a constraint',
    shortly('alter table pairings add constraint sample_key unique (cpo_id, id)'),
    'pairings: read under AccessExclusiveLock and ShareLock',
  ],
  [
    'adds a column with a default that each row has to be given',
    shortly('alter table pairings add column sample_1 uuid not null default gen_random_uuid()'),
    'pairings: rewritten under AccessExclusiveLock and ShareLock',
  ],
  [
    'changes the type of a column',
    shortly('alter table events alter column attempts type bigint'),
    'events: rewritten under AccessExclusiveLock and ShareLock',
  ],
  [
    'adds a constraint and checks all rows',
    shortly(`alter table pairings ${CHECK}`),
    'pairings: read under AccessExclusiveLock',
  ],
  [
    'adds a foreign key and checks all rows',
    shortly('alter table attempts add constraint attempts_cpo_id_fkey foreign key (cpo_id) references cpos (id)'),
    'attempts: read under ShareRowExclusiveLock',
  ],
  [
    'makes a column not null and checks all rows',
    shortly('alter table stations alter column uid drop not null; alter table stations alter column uid set not null'),
    'stations: read under AccessExclusiveLock',
  ],
  [
    'adds a constraint without a check, and checks all rows in the same transaction',
    shortly(`alter table pairing_codes add constraint sample_check check (length > 0) not valid;
      alter table pairing_codes validate constraint sample_check`),
    'pairing_codes: read under AccessExclusiveLock',
  ],
  [
    'waits for a lock with all callers behind it',
    plainly('alter table pairings add column sample_2 text'),
    'pairings: AccessExclusiveLock is waited for',
  ],
  [
    'refers to a table in use and waits for its lock',
    plainly('create table sample_3 (cpo_id uuid references cpos (id))'),
    'cpos: ShareRowExclusiveLock is waited for',
  ],
  [
    'holds a lock while it does something else',
    migrationOf((runner) => withShortLocks(runner, 'alter table pairings add column sample_4 text')),
    'pairings: AccessExclusiveLock is held to the end of the migration',
  ],
  [
    'locks a table in its own words',
    plainly('begin; lock table attempts in share mode'),
    'attempts: ShareLock is waited for',
  ],
])('a migration is refused that %s', async (_, migration, felt) =>
  expect(await feltLocksOf(source, migration)).toContain(felt),
);

test.each<[string, MigrationInterface]>([
  [
    'builds an index concurrently',
    migrationOf((runner) => buildIndexes(runner, { sample_5_idx: 'unique index on pairings (cpo_id, id)' }), false),
  ],
  ['adds a column', shortly(`alter table pairings add column sample_6 text not null default ''`)],
  [
    'adds a constraint for new rows and checks the others afterwards',
    migrationOf(async (runner) => {
      await withShortLocks(runner, `alter table pairings ${CHECK.replace('sample', 'sample_7')} not valid`);
      await runner.query('alter table pairings validate constraint pairings_sample_7_check');
    }, false),
  ],
  ['creates a table that refers to one in use', shortly('create table sample_8 (cpo_id uuid references cpos (id))')],
  [
    'creates a table and its indexes',
    migrationOf((runner) => runner.query('create table sample_9 (a int); create index on sample_9 (a)')),
  ],
  [
    'replaces a function',
    migrationOf((runner) => runner.query('create function sample_10() returns int language sql as $$ select 1 $$')),
  ],
])('a migration is accepted that %s', async (_, migration) => expect(await feltLocksOf(source, migration)).toEqual([]));

test('a repeated migration keeps the indexes that it has built', async () => {
  const runner = source.createQueryRunner();
  const idAfterBuild = async () => {
    await buildIndexes(runner, { sample_11_idx: 'index on pairings (cpo_id)' });
    return (await runner.query(`select 'sample_11_idx'::regclass::oid as id`))[0].id;
  };
  const id = await idAfterBuild();
  expect(await idAfterBuild()).toBe(id);
  await runner.query('drop index sample_11_idx');
  await runner.release();
});

test('a migration whose build of an index was interrupted builds it anew', async () => {
  const other = await createTestDatabase();
  const client = new Client(other.url);
  await client.connect();
  const db = await createDataSource(other.url, schema, {}).initialize();
  const isValid = async (): Promise<boolean | undefined> =>
    (await db.query(`select indisvalid from pg_index where indexrelid = to_regclass('pairings_ended_idx')`))[0]
      ?.indisvalid;
  while ((await isValid()) !== undefined) await db.undoLastMigration();

  await client.query('begin isolation level repeatable read; select from tokens');
  const migrating = migrate(other.url, schema);
  const interrupt = `
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and query ~ 'create index concurrently' and wait_event = 'virtualxid'`;
  const interrupted = expect(migrating).rejects.toThrow(/terminat/i);
  expect(
    await until(
      ({ length }) => length > 0,
      () => db.query(interrupt),
      10_000,
    ),
  ).toHaveLength(1);
  await interrupted;
  expect(await isValid()).toBe(false);

  await client.query('commit');
  expect(await migrate(other.url, schema)).toBeGreaterThan(0);
  expect(await isValid()).toBe(true);
  await Promise.all([client.end(), db.destroy()]);
  await other.drop();
});
