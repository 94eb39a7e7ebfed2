import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { OperatorError } from '../problems';
import { markDeployment, requireDeployment } from './deployment';
import { sqlStateOf } from './errors';
import { grantNewSequences, grantServiceRole } from './grants';
import { ADVISORY_LOCKS } from './locks';
import { createDataSource, type Database, type DatabaseSchema, openDatabase } from './pool';
import { rows } from './query';
import { requireServer } from './require-server';
import { withSession } from './session';

const LOCK_POLL_MS = 100;
const LOCK_DEADLINE_MS = 3_600_000;
const INSUFFICIENT_PRIVILEGE = '42501';

/** Reports that migrations of this version are pending. */
export class NotMigrated extends OperatorError {
  constructor(hint = '', options: ErrorOptions = {}) {
    super(`the database has not been migrated to this version: run scsp migrate${hint}`, options);
  }
}

type MigrateOptions = {
  /** Marks an unmarked database as sandbox or production; undefined leaves it unmarked. */
  readonly sandbox?: boolean;
  /** The role that the service connects as, if it does not own the tables; it is granted the privileges it needs. */
  readonly serviceRole?: string | undefined;
};

/**
 * Runs pending migrations under an advisory lock. Processes that start at the same time wait for the one that migrates.
 * @returns the number of migrations run
 * @throws NotMigrated if migrations are pending and this role lacks the privileges to run them
 * @throws OperatorError if the database is not supported; nothing has been changed then
 * @throws WrongDeployment if the database's mark contradicts `sandbox`; nothing has been changed then
 */
export async function migrate(
  url: string,
  schema: DatabaseSchema,
  { sandbox, serviceRole }: MigrateOptions = {},
): Promise<number> {
  const db = await createDataSource(withoutTimeouts(url), schema, {
    max: 2,
    connectionTimeoutMillis: 3_000,
  }).initialize();
  const lock = db.createQueryRunner();
  try {
    await requireServer(db);
    await takeMigrationLock(lock);
    const toMark = sandbox !== undefined && !(await requireDeployment(lock, sandbox));
    if (serviceRole !== undefined) await grantNewSequences(lock, serviceRole);
    const done = (await db.runMigrations()).length;
    if (toMark) await markDeployment(lock, sandbox);
    if (sandbox !== undefined) await makeFeed(lock);
    if (serviceRole !== undefined) await grantServiceRole(lock, serviceRole);
    return done;
  } catch (cause) {
    if (sqlStateOf(cause) !== INSUFFICIENT_PRIVILEGE) throw cause;
    throw new NotMigrated(' with MIGRATION_DATABASE_URL set to the owner of the tables', { cause });
  } finally {
    await lock.release();
    await db.destroy();
  }
}

/**
 * Inserts the row of the feed. Not a migration: a dump of the data alone contains the row, and is loaded into tables without it.
 * The caller holds the migration lock; it may lack the privilege to insert when there is nothing to do.
 */
async function makeFeed(lock: QueryRunner): Promise<void> {
  const made = await lock.query('select 1 from event_feed');
  if (made.length === 0) await lock.query('insert into event_feed default values');
}

/**
 * Polls for the lock instead of waiting in a statement: a waiting statement holds a snapshot, `create index
 * concurrently` waits for that snapshot, and both would wait forever. Versions up to 0.1 do wait in a statement, so
 * their lock is taken once, to let a running migration finish, and released before anything is migrated.
 */
async function takeMigrationLock(lock: QueryRunner): Promise<void> {
  const take = async (key: number) => {
    for (const deadline = performance.now() + LOCK_DEADLINE_MS; ; await sleep(LOCK_POLL_MS)) {
      const [{ taken }] = await lock.query('select pg_try_advisory_lock($1) as taken', [key]);
      if (taken) return;
      if (performance.now() > deadline)
        throw new OperatorError('another process has been migrating the database for an hour');
    }
  };
  await take(ADVISORY_LOCKS.migration);
  await take(ADVISORY_LOCKS.formerMigration);
  await lock.query('select pg_advisory_unlock($1)', [ADVISORY_LOCKS.formerMigration]);
}

/** Disables the role's time-outs: migrations may run for a long time and wait for locks. */
const withoutTimeouts = (url: string) => withSession(url, { statement_timeout: '0', lock_timeout: '0' });

/** Returns whether migrations of this version are pending. */
export async function hasPendingMigrations(db: Database): Promise<boolean> {
  return (await countPendingMigrations(db)) > 0;
}

/** Returns the number of migrations of this version that are pending. */
export async function countPendingMigrations(db: Database): Promise<number> {
  const [table] = await rows<{ exists: boolean }>(db, `select to_regclass('migrations') is not null as exists`);
  if (!table?.exists) return db.migrations.length;
  const done = new Set((await rows<{ name: string }>(db, 'select name from migrations')).map(({ name }) => name));
  return db.migrations.filter(({ name = '' }) => !done.has(name)).length;
}

/**
 * Checks that the database is migrated and marked as expected. Changes nothing.
 * @throws NotMigrated, WrongDeployment, or the driver's error if the database is unavailable
 */
export async function requireMigrated(url: string, schema: DatabaseSchema, sandbox: boolean): Promise<void> {
  const db = await openDatabase(url, schema, 1);
  try {
    await requireDeployment(db, sandbox);
    if (await hasPendingMigrations(db)) throw new NotMigrated();
  } finally {
    await db.destroy();
  }
}
