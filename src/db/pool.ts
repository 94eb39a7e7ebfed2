import type { Pool } from 'pg';
import { DataSource, type EntitySchema, type MigrationInterface } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver';
import type { PoolConnections } from '../metrics/process';
import { ServiceClient } from './client';
import { withSession } from './session';

export type Database = DataSource;

/** Holds all tables and migrations of the service. */
export type DatabaseSchema = {
  readonly entities: EntitySchema[];
  readonly migrations: (new () => MigrationInterface)[];
};

const APPLICATION = 'scsp-pairing';

/**
 * Limits how long a caller waits for an unresponsive database to 5 s (contract, section 7). `statement_timeout` alone
 * does not help if packets are lost, so the client has its own `query_timeout`.
 */
const CLIENT_TIMEOUTS = { connectionTimeoutMillis: 1_500, query_timeout: 2_500 };
/** In ms. A pooler drops them; they must then be set on the role (`requireTimeouts`). */
export const SERVER_TIMEOUTS = {
  statement_timeout: 2_000,
  lock_timeout: 1_500,
  idle_in_transaction_session_timeout: 5_000,
} as const;

/** Returns the driver's pool. */
export const poolOf = (db: Database): Pool => (db.driver as PostgresDriver).master;

/** Counts the connections of the pool. */
export function poolConnections(db: Database): PoolConnections {
  const { totalCount, idleCount, waitingCount } = poolOf(db);
  return { used: totalCount - idleCount, idle: idleCount, waiting: waitingCount };
}

/** Creates a pool without connecting it. */
export function createDataSource(url: string, schema: DatabaseSchema, extra: object): DataSource {
  return new DataSource({
    type: 'postgres',
    url,
    entities: schema.entities,
    migrations: schema.migrations,
    // One transaction per migration: `create index concurrently` cannot run in a transaction.
    migrationsTransactionMode: 'each',
    // No extension is needed: gen_random_uuid() is built in.
    installExtensions: false,
    applicationName: APPLICATION,
    // The `debug` logger is silent: standard output carries JSON lines only, and failures are thrown as well.
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
 * @throws the driver's error if the database is unavailable
 */
export function openDatabase(url: string, schema: DatabaseSchema, connections = 10, pooled = false): Promise<Database> {
  const extra = { max: connections, ...CLIENT_TIMEOUTS };
  const dataSource = pooled
    ? createDataSource(url, schema, extra)
    : createDataSource(withSession(url), schema, { ...extra, ...SERVER_TIMEOUTS });
  return dataSource.initialize();
}
