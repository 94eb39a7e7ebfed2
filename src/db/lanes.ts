import { createHash } from 'node:crypto';
import type { Pool, PoolClient, QueryConfig } from 'pg';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver';
import { type Database, isAway, rows, stateOf, unavailableOr, untilSettled } from './database';

export type Prepared = { readonly name: string; readonly text: string };

/** A statement to be prepared. Its name tells its text: a pooler may lead to where another version prepared its own. */
export function prepared(what: string, text: string): Prepared {
  return { name: `${what}_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`, text };
}

/** The name is not known there, or known there already: nothing was run. */
const MISPLACED = ['26000', '42P05'];

class Lane {
  underWay = 0;
  lost = false;
  readonly client: Promise<PoolClient>;

  constructor(pool: Pool) {
    this.client = pool.connect();
    this.client.then(
      (client) => client.on('error', this.#lose),
      () => undefined,
    );
  }

  async close(): Promise<void> {
    const client = await this.client.catch(() => undefined);
    client?.off('error', this.#lose).release(this.lost);
  }

  readonly #lose = () => {
    this.lost = true;
  };
}

/**
 * Statements of one kind, on a connection for each key as long as there are any: each is parsed and planned once under
 * its name, runs in a transaction of its own, and is sent before the one ahead of it has been answered. The database
 * then goes from one to the next without waiting for this process. TypeORM sends statements without a name, which
 * PostgreSQL plans anew each time: for the pairing statement that costs more than running it.
 *
 * A pooler gets one statement at a time. One that does not keep track of names leads to another session than the last
 * time; statements go without a name from then on.
 */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  readonly #pool: Pool;
  #named = true;

  constructor(readonly db: Database) {
    this.#pool = (db.driver as PostgresDriver).master;
  }

  /** How many statements of a key may be under way. */
  get depth(): number {
    return this.#pool.options.pipeline ? 2 : 1;
  }

  /** @throws Problem `unavailable` when the database cannot answer now */
  async rows<Row extends object>(key: string, { name, text }: Prepared, values: unknown[]): Promise<Row[]> {
    try {
      return await untilSettled(() => this.#query<Row>(key, { ...(this.#named && { name }), text, values }));
    } catch (error) {
      if (!MISPLACED.includes(stateOf(error) ?? '')) throw unavailableOr(error);
      // Where there is no pooler, the statement ahead could not be parsed: it had the name for both.
      if (this.depth === 1) this.#named = false;
      return rows(this.db, text, values);
    }
  }

  async #query<Row extends object>(key: string, statement: QueryConfig): Promise<Row[]> {
    const lane = this.#laneOf(key);
    lane.underWay += 1;
    try {
      const client = await lane.client;
      return (await client.query<Row>(statement)).rows;
    } catch (error) {
      lane.lost ||= isAway(error);
      throw error;
    } finally {
      lane.underWay -= 1;
      if (lane.underWay === 0) {
        if (this.#lanes.get(key) === lane) this.#lanes.delete(key);
        void lane.close();
      }
    }
  }

  #laneOf(key: string): Lane {
    const open = this.#lanes.get(key);
    if (open !== undefined && !open.lost) return open;
    const lane = new Lane(this.#pool);
    this.#lanes.set(key, lane);
    return lane;
  }
}
