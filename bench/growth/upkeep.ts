import { Writable } from 'node:stream';
import { readConfig } from '../../src/config';
import { openDatabase } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { createLog } from '../../src/log';
import { runRetention } from '../../src/retention/retention';
import { percentile } from '../processes';
import { ATTEMPT_DAYS } from './fill';
import type { Level } from './level';
import { type Cost, ISSUE, measure, PAIRING } from './operations';
import { sizes, type TableSize } from './sizes';

const HOT = ['cpo_tries', 'pairing_codes', 'attempts', 'idempotency_keys'];
const PAIRINGS = 10_000;
/** Days of attempts that the removal takes away: a tenth of them. */
const OLD_DAYS = 3;
const OLD_CODES = 100_000;
const LOADED = 4096;

type Counters = { updated: number; hot: number; dead: number };

export type Vacuuming = {
  pairings: number;
  /** While they were made, and nothing was vacuumed. */
  tables: Record<string, Counters & { bytesBefore: number; bytesAfter: number; vacuumSeconds: number }>;
  indexesBefore: Record<string, number>;
  indexesAfter: Record<string, number>;
  issue: { before: Cost; unvacuumed: Cost; vacuumed: Cost };
};

/** What many pairings leave behind while no vacuum comes, what that costs, and how long a vacuum takes. */
export async function vacuuming(folder: string, level: Level, postmaster: number): Promise<Vacuuming> {
  const { sql } = level;
  await sql.query('vacuum analyze pairing_codes, cpo_tries');
  const [before, counted] = [await sizes(level), await counters(level)];
  const issueBefore = await measure(folder, level, ISSUE, postmaster);
  await measure(folder, level, PAIRING, postmaster, { count: PAIRINGS });
  const after = await sizes(level);
  const later = await counters(level, (counted.pairing_codes?.updated ?? 0) + PAIRINGS);
  const unvacuumed = await measure(folder, level, ISSUE, postmaster);
  const tables: Vacuuming['tables'] = {};
  for (const table of HOT) {
    const began = performance.now();
    await sql.query(`vacuum ${table}`);
    const [was, is] = [counted[table], later[table]];
    tables[table] = {
      updated: (is?.updated ?? 0) - (was?.updated ?? 0),
      hot: (is?.hot ?? 0) - (was?.hot ?? 0),
      dead: is?.dead ?? 0,
      bytesBefore: bytesOf(before, table),
      bytesAfter: bytesOf(after, table),
      vacuumSeconds: (performance.now() - began) / 1000,
    };
  }
  return {
    pairings: PAIRINGS,
    tables,
    indexesBefore: activeIndexes(before),
    indexesAfter: activeIndexes(after),
    issue: { before: issueBefore, unvacuumed, vacuumed: await measure(folder, level, ISSUE, postmaster) },
  };
}

const bytesOf = (all: readonly TableSize[], table: string) => all.find((one) => one.table === table)?.heapBytes ?? 0;
const activeIndexes = (all: readonly TableSize[]) =>
  Object.fromEntries(
    (all.find(({ table }) => table === 'pairing_codes')?.indexes ?? [])
      .filter(({ name }) => name.includes('active'))
      .map(({ name, bytes }) => [name, bytes]),
  );

/** Sessions tell what they have counted ten seconds after their last statement at the latest. */
async function counters({ sql }: Level, codesUpdated = 0): Promise<Record<string, Counters>> {
  for (const deadline = performance.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 500))) {
    const { rows } = await sql.query<Counters & { table: string }>(
      `
      select relname as "table", n_tup_upd::int as updated, n_tup_hot_upd::int as hot, n_dead_tup::int as dead
      from pg_stat_user_tables where relname = any ($1)`,
      [HOT],
    );
    const all = Object.fromEntries(rows.map(({ table, ...rest }) => [table, rest]));
    if ((all.pairing_codes?.updated ?? 0) >= codesUpdated || performance.now() > deadline) return all;
  }
}

export type Removal = {
  /** Per second, by what is removed. */
  removed: Record<string, { rows: number; perSecond: number }>;
  rate: number;
  without: { p50: number; p99: number };
  during: { p50: number; p99: number };
  afterwards: { p50: number; p99: number };
  attemptsVacuumSeconds: number;
  attemptsDead: number;
};

/** The service's own housekeeping, while stations are paired at a rate. */
export async function removal(folder: string, level: Level, postmaster: number, rate: number): Promise<Removal> {
  const { sql } = level;
  await sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, created_at, expires_at, ended_at)
     select uuidv7(interval '-8 days'), sha256(n::text::bytea), 6, gen_random_uuid()::text, 'home', 'expired',
       now() - interval '8 days', now() - interval '8 days', now() - interval '8 days' from generate_series(1, $1) n`,
    [OLD_CODES],
  );
  await sql.query('vacuum analyze pairing_codes');
  const load = () => measure(folder, level, PAIRING, postmaster, { count: LOADED, rate });
  await load();
  const without = await load();

  const db = await openDatabase(level.url, schema, 2);
  const config = readConfig({ DATABASE_URL: level.url, ATTEMPTS_KEEP_DAYS: String(ATTEMPT_DAYS - OLD_DAYS) });
  const removed: Removal['removed'] = {};
  let began = performance.now();
  const log = createLog(
    'info',
    new Writable({
      write(chunk, _encoding, done) {
        for (const line of String(chunk).split('\n').filter(Boolean)) {
          const { message, count } = JSON.parse(line);
          removed[message] = { rows: count, perSecond: (count * 1000) / (performance.now() - began) };
          began = performance.now();
        }
        done();
      },
    }),
  );
  const costs: Cost[] = [];
  try {
    let busy = true;
    const keeping = runRetention({ config, db, log, stopping: new AbortController().signal }).finally(() => {
      busy = false;
    });
    while (busy) costs.push(await load());
    await keeping;
  } finally {
    await db.destroy();
  }
  const dead = (await counters(level)).attempts?.dead ?? 0;
  const afterwards = await load();
  began = performance.now();
  await sql.query('vacuum attempts');
  return {
    removed,
    rate,
    without,
    // The loads that lay in the removal as a whole.
    during: {
      p50: percentile(
        costs.map(({ p50 }) => p50),
        0.5,
      ),
      p99: Math.max(...costs.slice(0, -1).map(({ p99 }) => p99), costs[0]?.p99 ?? 0),
    },
    afterwards,
    attemptsVacuumSeconds: (performance.now() - began) / 1000,
    attemptsDead: dead,
  };
}
