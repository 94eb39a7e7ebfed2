import { createDatabase } from './database';
import { BIG_USER, fill, RANDOM_INDEXES, randomUid, randomUser } from './growth/fill';
import { type Measured, measureOperation, measurePairings, medianOf, medians, perPart, totalUs } from './measure';
import { incorrectCode, issueCode, linkAt, listStations, type Operation, resolveLinks } from './operations';
import { LEVELS, ROUNDS, scaled } from './options';
import { type Postgres, runWithPostgres } from './postgres';
import { COLUMNS, columnsOf, environment, save, table } from './report';
import { type HttpTarget, startHttpTarget } from './target';

// Shows how the cost of operations grows with the number of paired stations. Each level is a database with so many of them,
// and a service on it; all are in one PostgreSQL. A round measures every operation on every level, one level after another,
// and compares it with the first level in the same round.

/** Shared buffers are a fifth of what ten million stations take. Vacuum would run in small tables only in so short a time. */
const SETTINGS = { shared_buffers: '4GB', max_wal_size: '4GB', autovacuum: 'off' };
const MIX = { name: '20 CPOs, 32 callers', cpos: 20, connections: 32 };

type Level = { readonly stations: number; readonly service: HttpTarget };
type Measurement = (level: Level) => Promise<Measured>;

const pairings: Measurement = ({ service }) => measurePairings(service, MIX, scaled(2048, MIX.connections));
const requests =
  (count: number, operation: (stations: number) => Operation): Measurement =>
  ({ service, stations }) =>
    measureOperation(service, operation(stations), MIX, scaled(count, MIX.connections));

/** Links in a request that resolves many. */
const LINKS = 100;
const links: Measurement = async (level) => {
  const operation = (stations: number) => resolveLinks(LINKS, () => randomUid(stations));
  return perPart(await requests(320, operation)(level), LINKS);
};

const MEASUREMENTS: Readonly<Record<string, Measurement>> = {
  'a pairing': pairings,
  'a refused code': requests(1024, () => incorrectCode),
  'a code issued': requests(512, () => issueCode),
  'a page of 50 stations': requests(320, () => listStations(() => BIG_USER)),
  'the stations of any user': requests(1024, (stations) => listStations(() => randomUser(stations))),
  'a link at an instant': requests(1024, (stations) => linkAt(() => randomUid(stations))),
  [`a link of ${LINKS} resolved at once`]: links,
};

async function main(postgres: Postgres): Promise<void> {
  const levels: Level[] = [];
  for (const stations of LEVELS) {
    const database = await createDatabase(postgres, `growth_${stations}`);
    await fill(database, stations);
    process.stderr.write(`${stations} stations stored\n`);
    const about = { name: `${stations} stations`, description: 'this service', script: '../src/main.js' };
    levels.push({ stations, service: await startHttpTarget(about, database, postgres.folder) });
  }
  for (const level of levels) await warmUp(level);

  const costs = Object.values(MEASUREMENTS).map(() => levels.map((): Measured[] => []));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { stations, service } of levels)
      if (stations < GROWS_QUICKLY) await service.database.sql.query('analyze');
    for (const [m, measurement] of Object.values(MEASUREMENTS).entries())
      for (const [l, level] of levels.entries()) costs[m]![l]!.push(await measurement(level));
  }
  for (const { service } of levels) await service.stop();
  report(costs);
}

/** Below so many stations a round adds enough rows for autovacuum to analyze them. */
const GROWS_QUICKLY = 1_000_000;

/** Loads indexes, and has statements planned for tables with some rows, also in the empty database. */
async function warmUp(level: Level): Promise<void> {
  const { sql } = level.service.database;
  await sql.query('create extension pg_prewarm');
  await sql.query('select pg_prewarm(index) from unnest($1::regclass[]) index', [RANDOM_INDEXES]);
  await pairings(level);
  await sql.query('vacuum (analyze)');
  for (const measurement of Object.values(MEASUREMENTS)) await measurement(level);
}

/** @param costs by measurement, level and round */
function report(costs: readonly Measured[][][]): void {
  const results = Object.keys(MEASUREMENTS).map((name, m) => {
    const byLevel = costs[m]!.map((rounds) => ({
      ...medians(rounds),
      ratio: medianOf(rounds, (one, round) => totalUs(one) / totalUs(costs[m]![0]![round]!)),
    }));
    return [name, byLevel] as const;
  });
  const rows = results.flatMap(([name, byLevel]) =>
    byLevel.map((one, l) => [name, `${LEVELS[l]}`, ...columnsOf(one), one.ratio.toFixed(2)]),
  );
  const run = environment();
  const head = `${run.date}, Node ${run.node}, ${run.machine}, ${MIX.name}, medians of ${run.rounds} interleaved rounds; CPU time per request\n`;
  const text = `${head}\n${table([['', 'stations', ...COLUMNS, 'of the first level'], ...rows])}\n`;
  save('growth', text, { ...run, settings: SETTINGS, counts: LEVELS, results: Object.fromEntries(results) });
}

void runWithPostgres(SETTINGS, main);
