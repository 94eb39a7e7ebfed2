import type { EntityManager } from 'typeorm';
import type { Context } from '../context';
import { rows, transaction } from '../db/query';
import { limitsRow } from '../pairing/limits';
import { readRetentionBacklog, type TableBacklog } from '../retention/backlog';
import * as statements from './statements';
import type {
  CalledCpo,
  CodeLength,
  CpoAtLimit,
  DatabaseState,
  Endpoint,
  ExpiringToken,
  NamedCpo,
  OpenCircuit,
  Queue,
  Replica,
  StoredState,
} from './stored-state';

type DatabaseRow = Omit<DatabaseState, 'standbys' | 'synchronousStandbys' | 'lagSeconds'> & {
  readonly readAt: Date;
  /** The number of WAL senders whose state the role may not see. */
  readonly hidden: number;
  readonly standbys: number;
  readonly synchronousStandbys: number;
  readonly lagSeconds: number | null;
};

/**
 * Makes the planner read the indexes, whatever the statistics say: a queue that was long when they were made would be searched for in
 * the whole table. Scans that are disabled have costs so high that PostgreSQL would compile the statement.
 */
const BY_INDEX = `
select set_config(name, 'off', true) from unnest(array['enable_seqscan', 'enable_bitmapscan', 'jit']) name`;

type ReadBacklog = () => Promise<readonly TableBacklog[]>;

/**
 * Reads the stored state on one connection, in a few milliseconds whatever the size of the tables.
 * @param readBacklog reads the backlog of retention, a statement for each of its rules
 * @throws Problem `unavailable`
 */
export async function readStoredState(
  ctx: Pick<Context, 'db' | 'config'>,
  readBacklog: ReadBacklog = () => readRetentionBacklog(ctx),
): Promise<StoredState> {
  const { db, config } = ctx;
  const backlog = await readBacklog();
  const read = async (tx: EntityManager): Promise<StoredState> => {
    const all = <Row>(sql: string, parameters: readonly unknown[] = []) => rows<Row>(tx, sql, parameters);
    const one = async <Row>(sql: string): Promise<Row> => {
      const [row] = await all<Row>(sql);
      if (row === undefined) throw new TypeError('an aggregate returned no row');
      return row;
    };
    await all(BY_INDEX);
    const database = await one<DatabaseRow>(statements.DATABASE);
    return {
      readAt: database.readAt,
      database: databaseState(database),
      replicas: await all<Replica>(statements.REPLICAS),
      codes: await all<CodeLength>(statements.CODES),
      atLimit: await all<CpoAtLimit>(statements.AT_LIMIT, [limitsRow(config.limits)]),
      suspended: await all<NamedCpo>(statements.SUSPENDED),
      called: await all<CalledCpo>(statements.CALLED),
      circuits: await all<OpenCircuit>(statements.CIRCUITS),
      outbox: await one<StoredState['outbox']>(statements.OUTBOX),
      events: await one<Queue>(statements.EVENTS),
      deliveries: await one<Queue>(statements.DELIVERIES),
      endpoints: await all<Endpoint>(statements.ENDPOINTS),
      tokens: await all<ExpiringToken>(statements.TOKENS),
      erasures: await one<Queue>(statements.ERASURES),
      backlog,
    };
  };
  return transaction(db, read, 'READ COMMITTED');
}

function databaseState(row: DatabaseRow): DatabaseState {
  const visible = row.hidden === 0;
  return {
    version: row.version,
    isPrimary: row.isPrimary,
    sizeBytes: row.sizeBytes,
    connections: row.connections,
    maxConnections: row.maxConnections,
    synchronousStandbyNames: row.synchronousStandbyNames,
    walSenders: row.walSenders,
    standbys: visible ? row.standbys : undefined,
    synchronousStandbys: visible ? row.synchronousStandbys : undefined,
    lagSeconds: row.lagSeconds ?? undefined,
  };
}

/** Returns the CPOs whose circuit is open in a replica that is alive, self-service CPOs included. */
export const listOpenCircuits = (db: Context['db']): Promise<OpenCircuit[]> => rows(db, statements.ALL_CIRCUITS);
