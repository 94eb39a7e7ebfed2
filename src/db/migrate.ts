import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { type Database, type DatabaseModel, describe, openDatabase, rows, stateOf } from './database';
import { grantService } from './grants';
import { requireServer } from './require-server';
import { withSession } from './session';

/** Any number, the same for all replicas: the advisory lock under which migrations run. */
const MIGRATION_LOCK = 7_305_008;
/** That of earlier versions. */
const EARLIER_LOCK = 7_305_001;
const LOCK_POLL_MS = 50;
const NO_RIGHT = '42501';

/** A database that lacks migrations of this version. */
export class NotMigrated extends RangeError {
  constructor(hint = '', options: ErrorOptions = {}) {
    super(`the database has not been migrated to this version: run scsp migrate${hint}`, options);
  }
}

/**
 * Runs the pending migrations; of many starters exactly one migrates, the others wait for it.
 * @param serviceRole is given what the service needs, where the tables are another role's
 * @throws NotMigrated when migrations are pending that this role may not run
 * @throws RangeError when the service cannot work with the database, before anything is changed
 */
export async function migrate(url: string, model: DatabaseModel, serviceRole?: string): Promise<number> {
  const db = await describe(patient(url), model, { max: 2, connectionTimeoutMillis: 5_000 }).initialize();
  const lock = db.createQueryRunner();
  try {
    await requireServer(db);
    await takeMigrationLock(lock);
    const done = (await db.runMigrations()).length;
    if (serviceRole !== undefined) await grantService(lock, serviceRole);
    return done;
  } catch (cause) {
    if (stateOf(cause) !== NO_RIGHT) throw cause;
    throw new NotMigrated(' with MIGRATION_DATABASE_URL, as a role that may do it', { cause });
  } finally {
    await lock.release();
    await db.destroy();
  }
}

/**
 * Takes the lock of the migrations. It is polled for, because `create index concurrently` waits for every statement that
 * began before it, one that waits for this lock included. A replica of an earlier version waits so for its own lock, which
 * is therefore not held, only waited for: what such a replica had begun is done then.
 */
async function takeMigrationLock(lock: QueryRunner): Promise<void> {
  const taken = async () => {
    const [row] = await lock.query('select pg_try_advisory_lock($1) as taken', [MIGRATION_LOCK]);
    return row.taken;
  };
  while (!(await taken())) await sleep(LOCK_POLL_MS);
  await lock.query('select pg_advisory_lock($1), pg_advisory_unlock($1)', [EARLIER_LOCK]);
}

/** A migration takes its time, and waits for others, whatever time-outs stand with the role. */
const patient = (url: string) => withSession(url, { statement_timeout: '0', lock_timeout: '0' });

/** Whether the database lacks migrations of this version. */
export async function lacksMigrations(db: Database): Promise<boolean> {
  const [table] = await rows<{ exists: boolean }>(db, `select to_regclass('migrations') is not null as exists`);
  if (!table?.exists) return true;
  const done = new Set((await rows<{ name: string }>(db, 'select name from migrations')).map(({ name }) => name));
  return db.migrations.some(({ name = '' }) => !done.has(name));
}

/**
 * Refuses a database that lacks migrations, and changes nothing.
 * @throws NotMigrated, or what the driver throws when the database is away
 */
export async function requireMigrated(url: string, model: DatabaseModel): Promise<void> {
  const db = await openDatabase(url, model, 1);
  try {
    if (await lacksMigrations(db)) throw new NotMigrated();
  } finally {
    await db.destroy();
  }
}
