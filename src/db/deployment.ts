import { OperatorError } from '../problems';
import type { Database } from './pool';
import { rows } from './query';

/** A database that is marked as a sandbox where the settings say that this is none, or the other way round. */
export class WrongDeployment extends OperatorError {
  constructor(sandbox: boolean) {
    super(
      sandbox
        ? 'SANDBOX is true, but the database is marked as one for production: set SANDBOX=false, or use a database of the sandbox (DATABASE_URL, DATA_DIR)'
        : 'SANDBOX is false, but the database is marked as a sandbox: set SANDBOX=true, or use a database for production (DATABASE_URL, DATA_DIR)',
    );
  }
}

/**
 * Refuses a database whose mark contradicts the setting.
 * @returns whether it has a mark
 * @throws WrongDeployment
 */
export async function requireDeployment(db: Pick<Database, 'query'>, sandbox: boolean): Promise<boolean> {
  const [table] = await rows<{ exists: boolean }>(db, `select to_regclass('deployment') is not null as exists`);
  if (!table?.exists) return false;
  const [mark] = await rows<{ sandbox: boolean }>(db, 'select sandbox from deployment');
  if (mark !== undefined && mark.sandbox !== sandbox) throw new WrongDeployment(sandbox);
  return mark !== undefined;
}

/** Marks a database that has no mark yet; needs the lock of the migrations, and to own the tables. */
export async function markDeployment(db: Pick<Database, 'query'>, sandbox: boolean): Promise<void> {
  await rows(db, 'insert into deployment (sandbox) values ($1)', [sandbox]);
}
