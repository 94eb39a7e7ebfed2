import { Client, escapeIdentifier as quoted } from 'pg';
import type { QueryRunner } from 'typeorm';
import { OperatorError } from '../problems';

/** Lists the service's privileges on each table. Locking a row requires UPDATE; cascades run as the table's owner. */
export const TABLE_RIGHTS: Readonly<Record<string, string>> = {
  active_code_counts: 'select, insert, update',
  attempts: 'select, insert, update, delete',
  audit: 'select, insert',
  calls: 'select, insert, update, delete',
  certification_results: 'select, insert, update',
  certification_runs: 'select, insert, update, delete',
  code_neighbours: 'select, insert, delete',
  code_neighbours_missing: 'select, delete',
  connectors: 'select, insert',
  cpo_tries: 'select, insert, update, delete',
  cpos: 'select, insert, update',
  deployment: 'select',
  erasures: 'select, insert, delete',
  event_feed: 'select, update',
  events: 'select, insert, update, delete',
  evses: 'select, insert',
  failed_attempts: 'select, insert, update, delete',
  idempotency_keys: 'select, insert, update, delete',
  issued_code_counts: 'select, delete',
  migrations: 'select',
  observed_requests: 'select, insert, update, delete',
  outbox: 'select, insert, update, delete',
  pairing_codes: 'select, insert, update, delete',
  pairings: 'select, insert, update',
  redemption_attempts: 'select, insert, update, delete',
  redemptions: 'select, insert, update, delete',
  replicas: 'select, insert, update, delete',
  sandbox_limits: 'select, insert, update',
  sandbox_sign_ups: 'select, insert, delete',
  stations: 'select, insert, delete',
  tokens: 'select, insert, update',
  user_code_issues: 'select, insert, delete',
  webhook_deliveries: 'select, insert, update, delete',
  webhook_endpoints: 'select, insert, update, delete',
  webhook_gaps: 'select, insert, update, delete',
  webhook_limits: 'select, insert, update',
  webhook_secrets: 'select, insert, update, delete',
};

/** Returns the role that a URL connects as. */
export const roleOf = (url: string): string => new Client({ connectionString: url }).user ?? '';

/**
 * Grants a role the privileges that the service needs and revokes all others.
 * @param owner connected as the tables' owner; holds the migration lock, because concurrent GRANTs fail in PostgreSQL
 * @throws OperatorError if the role has more privileges: it is a member of the owner's role, or can create tables
 */
export async function grantServiceRole(owner: QueryRunner, role: string): Promise<void> {
  const [{ member }] = await owner.query(`select pg_has_role($1, current_user, 'member') as member`, [role]);
  if (member)
    throw new OperatorError(
      `the role ${role} of DATABASE_URL has all privileges of MIGRATION_DATABASE_URL's role: use a less privileged role`,
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
  const [{ create }] = await owner.query(`select has_schema_privilege($1, 'public', 'create') as create`, [role]);
  if (create)
    throw new OperatorError(
      `the role ${role} of DATABASE_URL has the privilege CREATE on the schema public: revoke it`,
    );
}

/**
 * Grants a role the use of each sequence from the moment that a migration creates it. Replicas of the earlier version insert into a
 * table as soon as a migration has given one of its columns a sequence as default; `grantServiceRole` runs after all migrations.
 * @param owner connected as the tables' owner
 */
export async function grantNewSequences(owner: QueryRunner, role: string): Promise<void> {
  await owner.query(`alter default privileges in schema public grant usage on sequences to ${quoted(role)}`);
}

async function grantsOf(owner: QueryRunner, role: string): Promise<string[]> {
  const [{ database, connect }] = await owner.query(
    `select current_database() as database, has_database_privilege($1, current_database(), 'connect') as connect`,
    [role],
  );
  const to = quoted(role);
  return [
    ...(connect ? [] : [`grant connect on database ${quoted(database)} to ${to}`]),
    // Databases created before PostgreSQL 15 grant CREATE to PUBLIC.
    'revoke create on schema public from public',
    `grant usage on schema public to ${to}`,
    `revoke all on all tables in schema public from ${to}`,
    ...Object.entries(TABLE_RIGHTS).map(([table, rights]) => `grant ${rights} on public.${quoted(table)} to ${to}`),
    `grant usage on all sequences in schema public to ${to}`,
    `grant execute on all functions in schema public to ${to}`,
  ];
}
