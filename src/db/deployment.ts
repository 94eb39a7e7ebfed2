import { OperatorError } from '../problems';
import type { Database } from './pool';
import { rows } from './query';

/** Reports that the database's mark (sandbox or production) contradicts `SANDBOX`. */
export class WrongDeployment extends OperatorError {
  constructor(sandbox: boolean) {
    super(
      sandbox
        ? 'SANDBOX is true, but the database is marked as production: set SANDBOX=false, or use a sandbox database (DATABASE_URL, DATA_DIR)'
        : 'SANDBOX is false, but the database is marked as a sandbox: set SANDBOX=true, or use a production database (DATABASE_URL, DATA_DIR)',
    );
  }
}

/**
 * Checks that the database's mark, if any, agrees with `SANDBOX`.
 * @returns whether the database is marked
 * @throws WrongDeployment
 */
export async function requireDeployment(db: Pick<Database, 'query'>, sandbox: boolean): Promise<boolean> {
  const [table] = await rows<{ exists: boolean }>(db, `select to_regclass('deployment') is not null as exists`);
  if (!table?.exists) return false;
  const [mark] = await rows<{ sandbox: boolean }>(db, 'select sandbox from deployment');
  if (mark !== undefined && mark.sandbox !== sandbox) throw new WrongDeployment(sandbox);
  return mark !== undefined;
}

/** Marks a database as sandbox or production. The caller holds the migration lock and owns the tables. */
export async function markDeployment(db: Pick<Database, 'query'>, sandbox: boolean): Promise<void> {
  await rows(db, 'insert into deployment (sandbox) values ($1)', [sandbox]);
}
