import type { Config } from '../config';
import { ADVISORY_LOCKS } from '../db/locks';
import { uuidAt } from '../db/uuid-at';

/** Says which rows of a table are removed, and when. */
export type RetentionRule = {
  /** Names the rows in the log. */
  readonly name: string;
  readonly table: string;
  /**
   * Builds SQL that selects the `ctid` of due rows, at most `limit`, by an index that finds them without reading others. `$1` is
   * `keepDays`.
   */
  readonly due: (limit: number) => string;
  /** How long rows are kept, if a setting decides. */
  readonly keepDays?: (config: Config) => number;
  /** The statement that removes a batch, as `removeBatch` builds it, where more than rows of the table have to change. */
  readonly remove?: string;
};

/** The most rows that one statement removes, so that it stays well below its time-out. */
export const BATCH = 1_000;

/** Takes the lock of the retention job until the commit, if it is free, as the first part of a statement. */
export const LOCK = `
lock as materialized (
  select pg_try_advisory_xact_lock(${ADVISORY_LOCKS.retention}) as locked
)`;

/**
 * Builds the statement that removes a batch of due rows, skipping those that somebody has locked. It returns `locked`, whether no
 * other replica was at it, and `count`, the number of rows removed.
 */
export const removeBatch = ({ table, due }: RetentionRule) => `
with ${LOCK}, removed as (
  delete from ${table} where ctid = any (array(
    select ctid from ${table}
    where (select locked from lock) and ctid = any (array(${due(BATCH)})) for update skip locked))
  returning 1
)
select locked, (select count(*)::int from removed) as count from lock`;

/**
 * Builds SQL that selects the rows of a table that are older than `age`, by its primary key: CPO and id. Ids are UUIDv7, so hardly
 * any rows are read that are not due: the clocks of the replicas that created them may differ. Rows with other ids would not be
 * found. An index on the time would slow down every insert.
 */
export const oldestOfEachCpo = (table: string, time: string, age: string) => (limit: number) =>
  `
select o.ctid from cpos c
cross join lateral (
  select ctid from ${table}
  where cpo_id = c.id and id < ${uuidAt(`now() - ${age}`)} and ${time} < now() - ${age} order by id limit ${limit}
) o
limit ${limit}`;

/** Returns the parameters of a rule's statements. */
export const parametersOf = ({ keepDays }: RetentionRule, config: Config): number[] =>
  keepDays === undefined ? [] : [keepDays(config)];
