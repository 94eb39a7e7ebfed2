import type { MigrationInterface, QueryRunner } from 'typeorm';
import type { Database } from '../../src/db/pool';

/** The lock modes that conflict with those of INSERT, UPDATE and DELETE (PostgreSQL's manual, section 13.3.1). */
const STRONG = ['ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'];
/** Requests queue behind a lock that is waited for. */
const LONGEST_WAIT_MS = 1_000;
const CONCURRENTLY = /^\s*(create\s+(unique\s+)?|drop\s+)index\s+concurrently\b/i;

const TABLES = `
select oid::int from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'migrations'`;

/** What this transaction has done to tables: the strong locks that it holds, and whether a table was read or rewritten. */
const STATE = `
select c.relname as table, l.modes, s.scans, pg_relation_filenode(c.oid)::int as file,
  (select setting::int from pg_settings where name = 'lock_timeout') as "lockTimeoutMs"
from pg_class c
cross join lateral (
  select sum(pg_stat_get_xact_numscans(r.oid))::int as scans
  from (select c.oid union all select indexrelid from pg_index where indrelid = c.oid) r
) s
cross join lateral (
  select array_agg(mode order by mode) as modes from pg_locks
  where pid = pg_backend_pid() and relation = c.oid and granted and mode = any ($2)
) l
where c.oid = any ($1)`;

type TableState = { table: string; modes: string[] | null; scans: number; file: number; lockTimeoutMs: number };

/**
 * Runs a migration and returns how callers would feel its locks on tables that existed before, each as `table: what`. Each
 * statement is run in a transaction, which afterwards knows its locks, but for those that build or drop an index concurrently.
 */
export async function feltLocksOf(source: Database, migration: MigrationInterface): Promise<string[]> {
  const runner = source.createQueryRunner();
  const run = runner.query.bind(runner);
  const inOneTransaction = migration.transaction !== false;
  const tables: number[] = (await run(TABLES)).map(({ oid }: { oid: number }) => oid);
  const state = async (): Promise<Map<string, TableState>> =>
    new Map((await run(STATE, [tables, STRONG])).map((row: TableState) => [row.table, row]));
  const felt = new Set<string>();

  const watched = async (sql: string, parameters?: unknown[]) => {
    if (CONCURRENTLY.test(sql)) return run(sql, parameters);
    if (!inOneTransaction) await run('begin');
    try {
      const before = await state();
      const result = await run(sql, parameters);
      for (const [table, now] of await state()) {
        const then = before.get(table);
        if (now.modes === null || then === undefined) continue;
        const locks = now.modes.join(' and ');
        const isNew = now.modes.some((mode) => !then.modes?.includes(mode));
        if (now.scans > then.scans) felt.add(`${table}: read under ${locks}`);
        if (now.file !== then.file) felt.add(`${table}: rewritten under ${locks}`);
        if (isNew && !(now.lockTimeoutMs > 0 && now.lockTimeoutMs <= LONGEST_WAIT_MS))
          felt.add(`${table}: ${locks} is waited for`);
        if (isNew && inOneTransaction) felt.add(`${table}: ${locks} is held to the end of the migration`);
      }
      if (!inOneTransaction) await run('commit');
      return result;
    } catch (error) {
      if (!inOneTransaction) await run('rollback');
      throw error;
    }
  };

  runner.query = watched as QueryRunner['query'];
  try {
    if (inOneTransaction) await run('begin');
    await migration.up(runner);
    if (inOneTransaction) await run('commit');
    return [...felt].sort();
  } finally {
    await run('rollback');
    await runner.release();
  }
}
