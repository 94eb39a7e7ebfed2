import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { DataSource, type EntityManager } from 'typeorm';
import type { DatabaseErrorReason } from '../metrics/process';
import { Problem } from '../problems';
import { reasonOf, sqlStateOf, toUnavailable } from './errors';
import { type Database, poolOf } from './pool';

/** The functions that failures of a database are reported to. */
const observers = new WeakMap<object, (reason: DatabaseErrorReason) => void>();

/** Calls a function for each statement and transaction that fails because the database is unavailable. */
export function onFailure(db: Database, observe: (reason: DatabaseErrorReason) => void): void {
  observers.set(db, observe);
}

/** Reports an error if it means that the database is unavailable, and returns it. A statement in a transaction is not reported itself. */
function reported(db: object, error: unknown): unknown {
  if (error instanceof Problem && error.type === 'unavailable' && error.cause !== undefined)
    observers.get(db)?.(reasonOf(error.cause));
  return error;
}

/**
 * Runs a statement and returns its rows. Not for a bare UPDATE or DELETE, whose result TypeORM wraps.
 * @throws Problem `unavailable` if the database is unavailable
 */
export function rows<Row>(
  db: Pick<Database, 'query'>,
  sql: string,
  parameters: readonly unknown[] = [],
): Promise<Row[]> {
  const run = (): Promise<Row[]> => db.query(sql, [...parameters]);
  // Inside a transaction, the whole transaction must be retried.
  return (db instanceof DataSource ? retrySerializationFailures(run) : run()).catch((error: unknown) => {
    throw reported(db, toUnavailable(error));
  });
}

/** Formats bytes in PostgreSQL's hex format, for use in JSON parameters. */
export const asBytea = (bytes: Buffer): string => `\\x${bytes.toString('hex')}`;

export type Prepared = { readonly name: string; readonly text: string };

/** Names a statement for preparing. The name includes a hash: a pooled session may hold another version's statement. */
export function prepared(prefix: string, text: string): Prepared {
  return { name: `${prefix}_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`, text };
}

/** The statement's name is unknown or already in use: a pooler has switched to another session. */
const STATEMENT_NAME_ERRORS = ['26000', '42P05'];
const poolsWithoutNames = new WeakSet<Pool>();

/**
 * Runs a prepared statement, which each connection parses and plans once, and returns its rows. TypeORM sends unnamed
 * statements, which PostgreSQL plans every time: for the pairing statement, planning takes longer than execution. A
 * pooler that does not track prepared statements makes Parse or Bind fail, before anything has run; the pool then uses
 * unnamed statements.
 * @throws Problem `unavailable` if the database is unavailable
 */
export async function preparedRows<Row extends object>(
  db: Database,
  { name, text }: Prepared,
  values: unknown[],
): Promise<Row[]> {
  const pool = poolOf(db);
  try {
    const query = { ...(!poolsWithoutNames.has(pool) && { name }), text, values };
    return (await retrySerializationFailures(() => pool.query<Row>(query))).rows;
  } catch (error) {
    if (!STATEMENT_NAME_ERRORS.includes(sqlStateOf(error) ?? '')) throw reported(db, toUnavailable(error));
    poolsWithoutNames.add(pool);
    return rows(db, text, values);
  }
}

/**
 * Runs a short transaction. `work` must use only the handle it is given, and may run again after a serialization
 * failure, so it must have no side effects outside the database.
 * @param isolation overrides the database's default level
 * @throws Problem `unavailable` if the database is unavailable
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
    return await retrySerializationFailures(() => (isolation ? db.transaction(isolation, run) : db.transaction(run)));
  } catch (error) {
    throw reported(db, error === thrown ? error : toUnavailable(error));
  }
}

/**
 * Runs a statement that reads the first rows of an index, with sequential and bitmap scans and JIT compilation disabled, and returns
 * its rows. If the planner underestimates the rows, such a scan would read and sort a million rows to return a thousand. If it
 * overestimates them, it would compile for two seconds.
 * @throws Problem `unavailable` if the database is unavailable
 */
export function rowsInIndexOrder<Row>(
  db: Database,
  sql: string,
  parameters: readonly unknown[] = [],
  isolation?: 'READ COMMITTED',
): Promise<Row[]> {
  const work = async (tx: EntityManager) => {
    await rows(tx, IN_INDEX_ORDER);
    return rows<Row>(tx, sql, parameters);
  };
  return transaction(db, work, isolation);
}

const IN_INDEX_ORDER = `select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
  set_config('jit', 'off', true)`;

/** SQLSTATE `serialization_failure`: the transaction was rolled back because of a concurrent one. */
const SERIALIZATION_FAILURE = '40001';
/** Limits the time for retries. Together with the time-outs of the pool, a caller still gets a response within 5 s. */
const RETRY_DEADLINE_MS = 1_000;

/**
 * Retries on serialization failures. They do not occur at PostgreSQL's default isolation level, but a stricter level or
 * a multi-node database reports one for every race.
 */
async function retrySerializationFailures<T>(run: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + RETRY_DEADLINE_MS; ; await sleep(1 + Math.random() * 20)) {
    try {
      return await run();
    } catch (error) {
      const cause = error instanceof Problem ? error.cause : error;
      if (sqlStateOf(cause) !== SERIALIZATION_FAILURE || performance.now() > deadline) throw error;
    }
  }
}
