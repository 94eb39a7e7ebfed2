import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { OperatorError } from '../problems';
import { markDeployment, requireDeployment } from './deployment';
import { stateOf } from './errors';
import { grantService } from './grants';
import { ADVISORY_LOCKS } from './locks';
import { type Database, type DatabaseSchema, describe, openDatabase } from './pool';
import { rows } from './query';
import { requireServer } from './require-server';
import { withSession } from './session';

const LOCK_POLL_MS = 100;
const LOCK_PATIENCE_MS = 3_600_000;
const NO_RIGHT = '42501';

/** A database that lacks migrations of this version. */
export class NotMigrated extends OperatorError {
  constructor(hint = '', options: ErrorOptions = {}) {
    super(`the database has not been migrated to this version: run scsp migrate${hint}`, options);
  }
}

type MigrateOptions = {
  /** What the database is marked as, unless it is marked already; not given: it stays as it is. */
  readonly sandbox?: boolean;
  /** Is given what the service needs, where the tables are another role's. */
  readonly serviceRole?: string | undefined;
};

/**
 * Runs the pending migrations; of many starters exactly one migrates, the others wait for it.
 * @throws NotMigrated when migrations are pending that this role may not run
 * @throws OperatorError when the service cannot work with the database, before anything is changed
 * @throws WrongDeployment when the database is marked as another kind, before anything is changed
 */
export async function migrate(
  url: string,
  schema: DatabaseSchema,
  { sandbox, serviceRole }: MigrateOptions = {},
): Promise<number> {
  const db = await describe(patient(url), schema, { max: 2, connectionTimeoutMillis: 3_000 }).initialize();
  const lock = db.createQueryRunner();
  try {
    await requireServer(db);
    await takeMigrationLock(lock);
    const toMark = sandbox !== undefined && !(await requireDeployment(lock, sandbox));
    const done = (await db.runMigrations()).length;
    if (toMark) await markDeployment(lock, sandbox);
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
 * Asks for the lock again and again: a statement that waits for it has a snapshot, for which `create index
 * concurrently` waits in its turn, and neither would ever end. So a replica of a former version, which waits in a
 * statement for the former lock, must not find it taken: whoever has it now is waited for, and then it is free again.
 */
async function takeMigrationLock(lock: QueryRunner): Promise<void> {
  const take = async (key: number) => {
    for (const deadline = performance.now() + LOCK_PATIENCE_MS; ; await sleep(LOCK_POLL_MS)) {
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
 * Refuses a database that lacks migrations, or is of another kind, and changes nothing.
 * @throws NotMigrated, WrongDeployment, or what the driver throws when the database is away
 */
export async function requireMigrated(url: string, schema: DatabaseSchema, sandbox: boolean): Promise<void> {
  const db = await openDatabase(url, schema, 1);
  try {
    await requireDeployment(db, sandbox);
    if (await lacksMigrations(db)) throw new NotMigrated();
  } finally {
    await db.destroy();
  }
}
