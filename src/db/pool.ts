import { DataSource, type EntitySchema, type MigrationInterface } from 'typeorm';
import { ServiceClient } from './client';
import { withSession } from './session';

export type Database = DataSource;

/** Tables and migrations of the whole service, put together by the composition root. */
export type DatabaseSchema = {
  readonly entities: EntitySchema[];
  readonly migrations: (new () => MigrationInterface)[];
};

const APPLICATION = 'scsp-pairing';

/**
 * A database that does not answer must cost a caller at most 5 s (contract, section 7).
 * `statement_timeout` alone does not help when packets vanish, hence the client's own `query_timeout`.
 */
const CLIENT_TIMEOUTS = { connectionTimeoutMillis: 1_500, query_timeout: 2_500 };
/** In ms. A pooler does not pass them on: there they stand with the role (`requireTimeouts`). */
export const SERVER_TIMEOUTS = {
  statement_timeout: 2_000,
  lock_timeout: 1_500,
  idle_in_transaction_session_timeout: 5_000,
} as const;

/** A pool yet to be opened. */
export function describe(url: string, schema: DatabaseSchema, extra: object): DataSource {
  return new DataSource({
    type: 'postgres',
    url,
    entities: schema.entities,
    migrations: schema.migrations,
    // Not one transaction for all: a migration that builds an index concurrently runs without one.
    migrationsTransactionMode: 'each',
    // PostgreSQL makes UUIDs by itself.
    installExtensions: false,
    applicationName: APPLICATION,
    // Silent: the console is for lines of JSON, and what fails is thrown as well.
    logger: 'debug',
    extra: {
      keepAlive: true,
      Client: ServiceClient,
      ...extra,
    },
  });
}

/**
 * Opens the pool.
 * @param pooled whether the URL leads to a connection pooler
 * @throws what the driver throws when the database is away
 */
export function openDatabase(url: string, schema: DatabaseSchema, connections = 10, pooled = false): Promise<Database> {
  const extra = { max: connections, ...CLIENT_TIMEOUTS };
  const described = pooled
    ? describe(url, schema, extra)
    : describe(withSession(url), schema, { ...extra, ...SERVER_TIMEOUTS });
  return described.initialize();
}
