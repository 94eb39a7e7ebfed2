import { escapeIdentifier as quoted } from 'pg';
import { OperatorError } from '../problems';
import type { Database } from './pool';
import { rows } from './query';

const MIN_VERSION = 15;
const MAX_VERSION = 18;

type ServerSettings = {
  version: number;
  encoding: string;
  database: string;
  role: string;
  /** The first existing schema of search_path, null if there is none. */
  schema: string | null;
  readOnly: boolean;
  replicationRole: string;
  /** The schema that holds the service's tables, if it is not public. */
  tableSchema: string | null;
};

/**
 * Checks what the service requires of a database and cannot set on its own connections.
 * @throws OperatorError with the setting and the remedy
 */
export async function requireServer(db: Pick<Database, 'query'>): Promise<void> {
  const [server] = await rows<ServerSettings>(
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
          and to_regclass('public.pairing_codes') is null) as "tableSchema"`,
  );
  const incompatibility = server && incompatibilityOf(server);
  if (incompatibility) throw new OperatorError(incompatibility);
}

/** Describes why a database is not supported and what to do. Returns undefined for a supported one. */
export function incompatibilityOf(server: ServerSettings): string | undefined {
  const { version, encoding, database, role, schema, readOnly, replicationRole, tableSchema } = server;
  if (version < MIN_VERSION || version > MAX_VERSION)
    return `PostgreSQL ${version} is not supported: use ${MIN_VERSION} to ${MAX_VERSION}`;
  if (encoding !== 'UTF8')
    return `the database ${database} has the encoding ${encoding}, but must have UTF8: create it with "create database … encoding 'UTF8' template template0"`;
  if (tableSchema !== null)
    return `the service's tables are in the schema ${tableSchema}, but must be in public: run "drop schema public; alter schema ${quoted(tableSchema)} rename to public;"`;
  if (schema === null)
    return `the schema public does not exist, or the role ${role} lacks USAGE on it: run "create schema if not exists public; grant usage on schema public to ${quoted(role)};"`;
  const set = (setting: string) =>
    `run "alter role ${quoted(role)} in database ${quoted(database)} set ${setting};" and reconnect the pooler, if there is one`;
  if (schema !== 'public')
    return `search_path resolves to the schema ${schema}, but must resolve to public: ${set('search_path = public')}`;
  if (readOnly) return `default_transaction_read_only is on: ${set('default_transaction_read_only = off')}`;
  if (replicationRole !== 'origin')
    return `session_replication_role is ${replicationRole}, which disables triggers: ${set('session_replication_role = origin')}`;
  return undefined;
}
