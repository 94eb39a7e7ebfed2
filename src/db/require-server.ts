import { escapeIdentifier as quoted } from 'pg';
import { OperatorError } from '../problems';
import type { Database } from './pool';
import { rows } from './query';

const OLDEST = 15;
const NEWEST = 18;

type Server = {
  version: number;
  encoding: string;
  database: string;
  role: string;
  /** Where unqualified names lead, null when that is nowhere. */
  schema: string | null;
  readOnly: boolean;
  replicationRole: string;
  /** A schema other than public that has the service's tables, when public has none. */
  elsewhere: string | null;
};

/**
 * Refuses a database that the service cannot work with, whatever it sets on its connections.
 * @throws OperatorError that names the setting and the remedy
 */
export async function requireServer(db: Pick<Database, 'query'>): Promise<void> {
  const [server] = await rows<Server>(
    db,
    `select current_setting('server_version_num')::int / 10000 as version,
       current_setting('server_encoding') as encoding,
       current_database() as database,
       current_user as role,
       current_schema() as schema,
       current_setting('default_transaction_read_only') = 'on' as "readOnly",
       current_setting('session_replication_role') as "replicationRole",
       (select min(nspname) from pg_class join pg_namespace n on n.oid = relnamespace
        where relname = 'pairing_codes' and relkind = 'r' and nspname <> 'public'
          and to_regclass('public.pairing_codes') is null) as elsewhere`,
  );
  const refusal = server && refusalOf(server);
  if (refusal) throw new OperatorError(refusal);
}

/** Why the service cannot work with a database, and what to do; undefined when it can. */
export function refusalOf(server: Server): string | undefined {
  const { version, encoding, database, role, schema, readOnly, replicationRole, elsewhere } = server;
  if (version < OLDEST || version > NEWEST) return `PostgreSQL ${version} is not supported: use ${OLDEST} to ${NEWEST}`;
  if (encoding !== 'UTF8')
    return `the database ${database} has the encoding ${encoding}, it must be UTF8: create it with "create database … encoding 'UTF8' template template0"`;
  if (elsewhere !== null)
    return `the service's tables are in the schema ${elsewhere}, they must be in public: run "drop schema public; alter schema ${quoted(elsewhere)} rename to public;"`;
  if (schema === null)
    return `the schema public is missing, or the role ${role} may not use it: run "create schema if not exists public; grant usage on schema public to ${quoted(role)};"`;
  const set = (setting: string) =>
    `run "alter role ${quoted(role)} in database ${quoted(database)} set ${setting};" and reconnect the pooler, if there is one`;
  if (schema !== 'public')
    return `search_path leads to the schema ${schema}, it must be public: ${set('search_path = public')}`;
  if (readOnly) return `default_transaction_read_only is on: ${set('default_transaction_read_only = off')}`;
  if (replicationRole !== 'origin')
    return `session_replication_role is ${replicationRole}, under which triggers do not run: ${set('session_replication_role = origin')}`;
  return undefined;
}
