import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { DataSource, type EntityManager } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver';
import { Problem } from '../problems';
import { stateOf, unavailableOr } from './errors';
import type { Database } from './pool';

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
