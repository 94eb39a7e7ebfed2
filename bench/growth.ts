import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../src/db/embedded';
import { fillLevels, type Level, openLevel } from './growth/level';
import { type Cost, measure, OPERATIONS, PAIRING, pairAndCheck, summary } from './growth/operations';

const COUNTS = (process.env.GROWTH_LEVELS ?? '0,100000,1000000,10000000').split(',').map(Number);
const ROUNDS = Number(process.env.GROWTH_ROUNDS ?? 7);
/** A folder to fill once and measure often; without it the data is in a temporary folder, and gone afterwards. */
const KEEP = process.env.GROWTH_KEEP;
const MEASURED = { max_connections: '200', shared_buffers: '256MB', max_wal_size: '4GB' };
const FILLING = {
  ...MEASURED,
  wal_level: 'minimal',
  max_wal_senders: '0',
  shared_buffers: '1GB',
  autovacuum: 'off',
  max_parallel_maintenance_workers: '2',
};

const say = (text: string) => void process.stdout.write(`${text}\n`);

async function main(): Promise<void> {
  const folder = KEEP ?? mkdtempSync(join(tmpdir(), 'scsp-growth-'));
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o711);
  try {
    await withPostgres(folder, FILLING, async (url) => {
      await fillLevels(folder, url, COUNTS, say);
    });
    await withPostgres(folder, MEASURED, (url, postmaster) => measureAll(folder, url, postmaster));
  } finally {
    if (KEEP === undefined) rmSync(folder, { recursive: true, force: true });
  }
}

async function withPostgres(
  folder: string,
  settings: Record<string, string>,
  work: (url: string, postmaster: number) => Promise<void>,
): Promise<void> {
  const postgres = await startEmbedded({ dir: join(folder, 'data'), settings });
  const pidFile = join(folder, 'data/postgres/data/postmaster.pid');
  try {
    await work(postgres.url, Number(readFileSync(pidFile, 'utf8').split('\n')[0]));
  } finally {
    await postgres.stop();
  }
}

async function measureAll(folder: string, adminUrl: string, postmaster: number): Promise<void> {
  const levels: Level[] = [];
  try {
    for (const filled of await fillLevels(folder, adminUrl, COUNTS, say))
      levels.push(await openLevel(folder, adminUrl, filled, 3910 + levels.length));
    await warmUp(folder, levels, postmaster);
    const costs = await rounds(folder, levels, postmaster);
    for (const { name } of OPERATIONS)
      for (const { count } of levels)
        say(`${name} ${count} ${JSON.stringify(summary(costs.get(name)?.get(count) ?? [], costs.get(name)?.get(levels[0]?.count ?? 0) ?? []))}`);
  } finally {
    for (const level of levels) await level.stop();
  }
}

/** Long enough for every plan and cache; the statistics are those of tables with rows in them. */
async function warmUp(folder: string, levels: readonly Level[], postmaster: number): Promise<void> {
  for (const level of levels) {
    for (let i = 0; i < 2; i++) {
      await pairAndCheck(folder, level, 2048);
      for (const operation of OPERATIONS) await measure(folder, level, operation, postmaster);
      await level.sql.query('vacuum analyze pairings, stations, evses, connectors, events');
      await level.sql.query('analyze');
    }
  }
}

type Costs = Map<string, Map<number, Cost[]>>;

/** Level after level in each round, so that what else the machine does falls on all of them. */
async function rounds(folder: string, levels: readonly Level[], postmaster: number): Promise<Costs> {
  const costs: Costs = new Map(OPERATIONS.map(({ name }) => [name, new Map(levels.map(({ count }) => [count, []]))]));
  for (let round = 0; round < ROUNDS; round++)
    for (const operation of OPERATIONS)
      for (const level of levels)
        costs.get(operation.name)?.get(level.count)?.push(await measure(folder, level, operation, postmaster));
  return costs;
}

void PAIRING;
void main().catch((error) => {
  console.error(error);
  process.exit(1);
});
