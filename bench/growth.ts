import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { type Embedded, startEmbedded } from '../src/embedded-postgres/launcher';
import { type Filled, fillLevels, type Level, openLevel } from './growth/level';
import { type Cost, measure, OPERATIONS, PAIRING, pairAndCheck, summary } from './growth/operations';
import { partitions } from './growth/partitions';
import { write } from './growth/report';
import { sizes } from './growth/sizes';
import { removal, vacuuming } from './growth/upkeep';

const COUNTS = (process.env.GROWTH_LEVELS ?? '0,100000,1000000,10000000').split(',').map(Number);
const ROUNDS = Number(process.env.GROWTH_ROUNDS ?? 5);
/** A folder to fill once and measure often; without it the data is in a temporary folder, and gone afterwards. */
const KEEP = process.env.GROWTH_KEEP;
/** About a fifth of memory, and of what ten million stations take. */
const MEASURED = { max_connections: '200', shared_buffers: '4GB', max_wal_size: '4GB' };
const FILLING = {
  ...MEASURED,
  wal_level: 'minimal',
  max_wal_senders: '0',
  shared_buffers: '1GB',
  autovacuum: 'off',
};
const PORT = 3910;

let running: Embedded | undefined;
const say = (text: string) => void process.stderr.write(`${text}\n`);

async function main(): Promise<void> {
  const folder = KEEP ?? mkdtempSync(join(tmpdir(), 'scsp-growth-'));
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o711);
  // The folder can be removed when PostgreSQL is out of it.
  const leave = () => void Promise.resolve(running?.stop()).then(() => process.exit(1));
  process.on('SIGINT', leave).on('SIGTERM', leave);
  if (KEEP === undefined) process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const filled = await withPostgres(folder, FILLING, (url) => fillLevels(folder, url, COUNTS, say));
  await withPostgres(folder, MEASURED, (url, postmaster) => measureAll(folder, url, postmaster, filled));
}

async function withPostgres<T>(
  folder: string,
  settings: Record<string, string>,
  work: (url: string, postmaster: number) => Promise<T>,
): Promise<T> {
  const postgres = await startEmbedded({ dir: join(folder, 'data'), settings });
  running = postgres;
  const pidFile = join(folder, 'data/postgres/data/postmaster.pid');
  try {
    return await work(postgres.url, Number(readFileSync(pidFile, 'utf8').split('\n')[0]));
  } finally {
    await postgres.stop();
  }
}

async function measureAll(folder: string, adminUrl: string, postmaster: number, filled: readonly Filled[]) {
  const levels: Level[] = [];
  try {
    // A small table is vacuumed every minute and a large one never in the time of a run: that is measured by itself.
    await autovacuum(adminUrl, false);
    for (const one of filled) levels.push(await openLevel(folder, adminUrl, one, PORT + levels.length));
    for (const level of levels) await warmUp(folder, level, postmaster);
    const costs = await rounds(folder, levels, postmaster);
    const results = Object.fromEntries(
      [...costs].map(([name, byLevel]) => [name, byLevel.map((all) => summary(all, byLevel[0] ?? []))]),
    );
    const largest = levels.at(-1) as Level;
    const allSizes = Object.fromEntries(
      await Promise.all(levels.map(async (level) => [level.count, await sizes(level)] as const)),
    );
    say('vacuum');
    const vacuumed = await vacuuming(folder, largest, postmaster);
    say('removal');
    // What autovacuum would make up for all at once, in the middle of it.
    for (const level of levels) await level.sql.query('vacuum');
    await analyzeSmall(levels);
    await autovacuum(adminUrl, true);
    const half = Math.floor((results[PAIRING.name]?.at(-1)?.rps ?? 0) / 2);
    const removed = await removal(folder, largest, postmaster, half);
    say('partitions');
    for (const level of levels.splice(0)) await level.stop();
    const schema = filled.filter(({ count }) => count <= 1_000_000).at(-1) as Filled;
    write({
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus().length} × ${cpus()[0]?.schema}`,
      rounds: ROUNDS,
      settings: MEASURED,
      counts: COUNTS,
      results,
      sizes: allSizes,
      vacuuming: vacuumed,
      removal: removed,
      partitions: await partitions(folder, adminUrl, schema, postmaster, PORT),
    });
  } finally {
    for (const level of levels) await level.stop();
  }
}

async function autovacuum(adminUrl: string, on: boolean): Promise<void> {
  const admin = new Client(adminUrl);
  await admin.connect();
  await admin.query(`alter system set autovacuum = ${on ? 'on' : 'off'}`);
  await admin.query('select pg_reload_conf()');
  await admin.end();
}

/** Indexes whose keys come at random: a server that has run for long has them in memory, and a short warm-up does not. */
const AT_RANDOM = [
  'pairings_active_station_uid_key',
  'pairings_active_user_idx',
  'pairing_codes_hash_created_idx',
  'attempts_uid_idx',
];

/** Long enough for plans; and the empty database is planned for as what it becomes: one with some rows. */
async function warmUp(folder: string, level: Level, postmaster: number): Promise<void> {
  await level.sql.query('create extension if not exists pg_prewarm');
  await level.sql.query('select pg_prewarm(index) from unnest($1::regclass[]) index', [AT_RANDOM]);
  await pairAndCheck(folder, level, PAIRING.requests);
  await level.sql.query('vacuum analyze');
  for (const operation of OPERATIONS) await measure(folder, level, operation, postmaster);
  await pairAndCheck(folder, level, PAIRING.requests);
}

/** As autovacuum does when a tenth is new: the small ones grow by more than that in a round. */
async function analyzeSmall(levels: readonly Level[]): Promise<void> {
  for (const { count, sql } of levels) if (count < 1_000_000) await sql.query('analyze');
}

/** Level after level in each round, so that what else the machine does falls on all of them. */
async function rounds(folder: string, levels: readonly Level[], postmaster: number): Promise<Map<string, Cost[][]>> {
  const costs = new Map(OPERATIONS.map(({ name }) => [name, levels.map(() => [] as Cost[])]));
  for (let round = 0; round < ROUNDS; round++) {
    say(`round ${round + 1}`);
    await analyzeSmall(levels);
    for (const operation of OPERATIONS)
      for (const [i, level] of levels.entries())
        costs.get(operation.name)?.[i]?.push(await measure(folder, level, operation, postmaster));
  }
  return costs;
}

void main().catch((error) => {
  console.error(error);
  process.exit(1);
});
