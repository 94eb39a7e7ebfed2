import { Client, escapeIdentifier as quoted } from 'pg';
import type { QueryRunner } from 'typeorm';
import { OperatorError } from '../problems';

/** What the service does with each table. Whoever locks a row must have the right to update it; cascades run as the owner. */
export const TABLE_RIGHTS: Readonly<Record<string, string>> = {
  active_code_counts: 'select, insert, update',
  attempts: 'select, insert, update, delete',
  audit: 'select, insert',
  code_neighbours: 'select, insert, delete',
  code_neighbours_missing: 'select, delete',
  connectors: 'select, insert',
  cpo_tries: 'select, insert, update, delete',
  cpos: 'select, insert, update',
  deployment: 'select',
  erasures: 'select, insert, delete',
  events: 'select, insert',
  evses: 'select, insert',
  failed_attempts: 'select, insert, update, delete',
  idempotency_keys: 'select, insert, update, delete',
  issued_code_counts: 'select, delete',
  migrations: 'select',
  outbox: 'select, insert, update, delete',
  pairing_codes: 'select, insert, update, delete',
  pairings: 'select, insert, update',
  redemption_attempts: 'select, insert, update, delete',
  redemptions: 'select, insert, update, delete',
  stations: 'select, insert, delete',
  tokens: 'select, insert, update',
  user_code_issues: 'select, insert, delete',
};

/** The role that a URL signs in as. */
export const roleOf = (url: string): string => new Client({ connectionString: url }).user ?? '';

/**
 * Gives a role what the service needs and takes the rest away, in the name of the owner of the tables.
 * @param owner holds the lock of the migrations, for PostgreSQL bears no two grants at once
 * @throws OperatorError when the role could do more: it stands above the owner, or may create tables
 */
export async function grantService(owner: QueryRunner, role: string): Promise<void> {
  const [{ above }] = await owner.query(`select pg_has_role($1, current_user, 'member') as above`, [role]);
  if (above)
    throw new OperatorError(
      `the role ${role} of DATABASE_URL may do all that MIGRATION_DATABASE_URL's may: it must be a lesser one`,
    );
  const grants = await grantsOf(owner, role);
  await owner.startTransaction();
  try {
    for (const grant of grants) await owner.query(grant);
    await owner.commitTransaction();
  } catch (error) {
    await owner.rollbackTransaction();
    throw error;
  }
  const [{ creates }] = await owner.query(`select has_schema_privilege($1, 'public', 'create') as creates`, [role]);
  if (creates)
    throw new OperatorError(`the role ${role} of DATABASE_URL must not be allowed to create in the schema public`);
}

async function grantsOf(owner: QueryRunner, role: string): Promise<string[]> {
  const [{ database, connects }] = await owner.query(
    `select current_database() as database, has_database_privilege($1, current_database(), 'connect') as connects`,
    [role],
  );
  const to = quoted(role);
  return [
    ...(connects ? [] : [`grant connect on database ${quoted(database)} to ${to}`]),
    // In databases from before PostgreSQL 15 everybody may create there.
    'revoke create on schema public from public',
    `grant usage on schema public to ${to}`,
    `revoke all on all tables in schema public from ${to}`,
    ...Object.entries(TABLE_RIGHTS).map(([table, rights]) => `grant ${rights} on public.${quoted(table)} to ${to}`),
    `grant execute on all functions in schema public to ${to}`,
  ];
}
