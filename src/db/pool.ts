import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClientBase, DatabaseError, type Pool } from 'pg';
import { DataSource, type EntityManager, type EntitySchema, type MigrationInterface, QueryFailedError } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver';
import { Problem } from '../problems';
import { closeWhenLost } from './lost-connections';
import { withSession } from './session';
import { refuseUnreplicated } from './unreplicated';

export type Database = DataSource;

/** Tables and migrations of the whole service, put together by the composition root. */
export type DatabaseModel = {
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
export function describe(url: string, model: DatabaseModel, extra: object): DataSource {
  return new DataSource({
    type: 'postgres',
    url,
    entities: model.entities,
    migrations: model.migrations,
    // Not one transaction for all: a migration that builds an index concurrently runs without one.
    migrationsTransactionMode: 'each',
    // PostgreSQL makes UUIDs by itself.
    installExtensions: false,
    applicationName: APPLICATION,
    // Silent: the console is for lines of JSON, and what fails is thrown as well.
    logger: 'debug',
    extra: {
      keepAlive: true,
      onConnect(client: ClientBase) {
        closeWhenLost(client);
        refuseUnreplicated(client);
      },
      ...extra,
    },
  });
}

/**
 * Opens the pool.
 * @param pooled whether the URL leads to a connection pooler
 * @throws what the driver throws when the database is away
 */
export function openDatabase(url: string, model: DatabaseModel, connections = 10, pooled = false): Promise<Database> {
  const extra = { max: connections, ...CLIENT_TIMEOUTS };
  const described = pooled
    ? describe(url, model, extra)
    : describe(withSession(url), model, { ...extra, ...SERVER_TIMEOUTS });
  return described.initialize();
}

/**
 * The rows of a statement that returns rows (not for a bare UPDATE or DELETE, whose result TypeORM wraps).
 * @throws Problem `unavailable` when the database cannot answer now
 */
export function rows<Row>(
  db: Pick<Database, 'query'>,
  sql: string,
  parameters: readonly unknown[] = [],
): Promise<Row[]> {
  const ask = (): Promise<Row[]> => db.query(sql, [...parameters]);
  // In a transaction it is the whole of it that is asked again.
  return (db instanceof DataSource ? untilSettled(ask) : ask()).catch((error: unknown) => {
    throw unavailableOr(error);
  });
}

/** Bytes as PostgreSQL writes them, for parameters in JSON. */
export const asBytea = (bytes: Buffer): string => `\\x${bytes.toString('hex')}`;

export type Prepared = { readonly name: string; readonly text: string };

/** A statement to be prepared. Its name tells its text: a pooler may lead to where another version prepared its own. */
export function prepared(what: string, text: string): Prepared {
  return { name: `${what}_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`, text };
}

/** The name is not known there, or known there already: a pooler has led to another session than the last time. */
const MISPLACED = ['26000', '42P05'];
const nameless = new WeakSet<Pool>();

/**
 * The rows of a statement that each connection parses and plans once, under its name. TypeORM sends statements without
 * a name, which PostgreSQL plans anew each time: for the pairing statement that costs more than running it. Behind a
 * pooler that does not keep track of names, which shows before anything is run, it goes without one from then on.
 * @throws Problem `unavailable` when the database cannot answer now
 */
export async function preparedRows<Row extends object>(
  db: Database,
  { name, text }: Prepared,
  values: unknown[],
): Promise<Row[]> {
  const pool: Pool = (db.driver as PostgresDriver).master;
  try {
    const named = { ...(!nameless.has(pool) && { name }), text, values };
    return (await untilSettled(() => pool.query<Row>(named))).rows;
  } catch (error) {
    if (!MISPLACED.includes(stateOf(error) ?? '')) throw unavailableOr(error);
    nameless.add(pool);
    return rows(db, text, values);
  }
}

/**
 * A short transaction; inside, only its own handle is used. It may be begun again, so it changes nothing but rows.
 * @param isolation where the database's default, which may be stricter, will not do
 * @throws Problem `unavailable` when the database cannot answer now
 */
export async function transaction<T>(
  db: Database,
  work: (tx: EntityManager) => Promise<T>,
  isolation?: 'READ COMMITTED',
): Promise<T> {
  let thrown: unknown;
  try {
    const run = (tx: EntityManager) =>
      work(tx).catch((error: unknown) => {
        thrown = error;
        throw error;
      });
    return await untilSettled(() => (isolation ? db.transaction(isolation, run) : db.transaction(run)));
  } catch (error) {
    throw error === thrown ? error : unavailableOr(error);
  }
}

/**
 * The rows of a statement that reads a bounded part of an index in its order. Where the planner expects few rows, it would
 * rather read and sort all of them, and a statement for a thousand of a million rows would read a million.
 * @throws Problem `unavailable` when the database cannot answer now
 */
export function rowsInIndexOrder<Row>(db: Database, sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
  return transaction(db, async (tx) => {
    await rows(tx, `select set_config('enable_bitmapscan', 'off', true)`);
    return rows<Row>(tx, sql, parameters);
  });
}

/** Whether an error is the breach of the constraint or unique index of that name. */
export function violates(error: unknown, constraint: string): boolean {
  return error instanceof QueryFailedError && error.driverError.constraint === constraint;
}

/** The SQLSTATE of what was rolled back for the sake of others at the same time: nothing of it has happened. */
const SERIALIZATION_FAILURE = '40001';
/** How long something may be asked again: with the time-outs above, a caller still has an answer within 5 s. */
const PATIENCE_MS = 1_000;

/**
 * Asks again what the database rolled back for the sake of others. With the isolation that PostgreSQL has by default
 * that does not happen; with a stricter one, or on a database of several nodes, it does in each race.
 */
async function untilSettled<T>(ask: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(1 + Math.random() * 20)) {
    try {
      return await ask();
    } catch (error) {
      const cause = error instanceof Problem ? error.cause : error;
      if (stateOf(cause) !== SERIALIZATION_FAILURE || performance.now() > deadline) throw error;
    }
  }
}

/** Connection, resources, shutdown, system, rollback, lock timeout, read-only after a fail-over, sign-in. */
const UNAVAILABLE_STATES = /^(08|53|57|58|40|55P03|25006|28|3D000)/;

/** What the driver threw: TypeORM wraps it. */
const causeOf = (error: unknown): unknown => (error instanceof QueryFailedError ? error.driverError : error);

/** Returns the SQLSTATE of an error, undefined for one that PostgreSQL did not report: `EPIPE` has five characters too. */
export function stateOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  return cause instanceof DatabaseError ? cause.code : undefined;
}

/** Errors of these types are defects of ours: drivers and sockets report theirs as plain errors. */
const DEFECTS = [TypeError, RangeError, ReferenceError, SyntaxError, URIError, EvalError];

/**
 * Whether an error says that the database is away, and nothing about a statement. One without an SQLSTATE comes from the
 * driver or the socket (refused, lost, too slow), unless it is a defect.
 */
export function isAway(error: unknown): boolean {
  const state = stateOf(error);
  if (state !== undefined) return UNAVAILABLE_STATES.test(state);
  const cause = causeOf(error);
  return !DEFECTS.some((type) => cause instanceof type);
}

function unavailableOr(error: unknown): unknown {
  return isAway(error) ? new Problem('unavailable', { cause: error }) : error;
}
