import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../src/config';
import { createDataSource, type Database } from '../src/db/pool';
import { schema } from '../src/db/schema';
import { createLog, type LogFields } from '../src/log';
import { readRetentionBacklog } from '../src/retention/backlog';
import { type Pause, runRetention } from '../src/retention/retention';
import { RULES } from '../src/retention/rules';
import { createDatabase } from './database';
import { fill } from './growth/fill';
import { type Measured, measurePairings, medianOf, medians, pairStations } from './measure';
import { LEVELS, ROUNDS, scaled } from './options';
import { type Postgres, runWithPostgres } from './postgres';
import { environment, save, table } from './report';
import { startHttpTarget } from './target';

// Shows what the cleanup costs pairings. A round measures pairings at half of the load that saturates the service, first without the
// cleanup and then while it removes rows of one kind after another. The cleanup runs in this process, as in another replica.

const STATIONS = LEVELS.at(-1) ?? 0;
const SETTINGS = { shared_buffers: '2GB', max_wal_size: '4GB' };
const MIX = { name: '20 CPOs, 16 callers', cpos: 20, connections: 16 };
const PHASE_SECONDS = 20;
const NOTHING = 'nothing';
/** The kinds of rows that are removed: names of rules. */
const PHASES = [NOTHING, 'ended pairings', 'unpaired codes', 'events'];

/** The cleanup keeps less than the service, which therefore finds nothing to remove. */
const CONFIG = readConfig({ EVENTS_KEEP_DAYS: '7', PAIRINGS_KEEP_DAYS: '7' });

/** Half of the stations are not paired any more, and for each station two codes have ended without pairing. */
const AGE = `
update pairings set ended_at = paired_at + interval '1 hour', ended_by = 'cpo'
where ended_at is null and paired_at < now() - interval '30 days' and get_byte(uuid_send(id), 15) < 128;
insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, created_at, expires_at, ended_at)
select uuidv7(at - now()), sha256(n::text::bytea), 6, md5('unpaired' || n), 'home', 'expired', at, at + interval '10 minutes',
  at + interval '10 minutes'
from (
  select n, now() - interval '20 days' + n * interval '5 days' / ${STATIONS} as at from generate_series(1, ${STATIONS} * 2) n
) s`;

/** What a phase costs, and how many rows were removed in it: in each second, and in each second in which the cleanup worked. */
type Phase = Measured & { readonly perSecond: number; readonly perWorkingSecond: number };

async function main(postgres: Postgres): Promise<void> {
  const database = await createDatabase(postgres, 'retention');
  await fill(database, STATIONS);
  await database.sql.query(AGE);
  await database.sql.query('vacuum (analyze)');
  process.stderr.write(`${STATIONS} stations stored\n`);
  const db = await createDataSource(database.url, schema, { max: 2 }).initialize();
  const backlogMs: number[] = [];
  for (let n = 0; n < ROUNDS; n++) backlogMs.push(await backlogTime(db));

  const about = { name: 'service', description: 'this service', script: '../src/main.js' };
  const service = await startHttpTarget(about, database, postgres.folder);
  await measurePairings(service, MIX, scaled(1024, MIX.connections));
  const saturation = (await measurePairings(service, MIX, scaled(1024, MIX.connections))).rps;
  const mix = { ...MIX, rate: saturation / 2 };
  const count = scaled(mix.rate * PHASE_SECONDS, MIX.connections);

  const phases = PHASES.map((): Phase[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [p, kind] of PHASES.entries()) {
      const cleanup = startCleanup(db, kind);
      const measured = await pairStations(service, mix, count);
      phases[p]!.push({ ...measured, ...(await cleanup.stop()) });
    }
  await service.stop();
  await db.destroy();
  report(phases, mix.rate, backlogMs);
}

/** Removes rows of one kind until it is stopped; then returns how many a second. */
function startCleanup(db: Database, kind: string): { stop(): Promise<Pick<Phase, 'perSecond' | 'perWorkingSecond'>> } {
  const stopping = new AbortController();
  const startedAt = performance.now();
  let removed = 0;
  let pausedMs = 0;
  const log = {
    ...createLog('error'),
    info(_: string, { count }: LogFields = {}) {
      removed += Number(count);
    },
  };
  const pause: Pause = async (ms, signal) => {
    const pausedAt = performance.now();
    await sleep(ms, undefined, { signal }).catch(() => undefined);
    pausedMs += performance.now() - pausedAt;
  };
  const rules = RULES.filter(({ name }) => name === kind);
  const running = runRetention({ config: CONFIG, db, log, stopping: stopping.signal }, pause, rules);
  return {
    async stop() {
      stopping.abort();
      await running;
      const seconds = (performance.now() - startedAt) / 1000;
      if (rules.length > 0 && removed === 0) throw new Error(`There was nothing to remove: ${kind}.`);
      return { perSecond: removed / seconds, perWorkingSecond: removed / (seconds - pausedMs / 1000) };
    },
  };
}

async function backlogTime(db: Database): Promise<number> {
  const startedAt = performance.now();
  await readRetentionBacklog({ config: CONFIG, db });
  return performance.now() - startedAt;
}

/** @param phases by kind and round */
function report(phases: readonly Phase[][], rate: number, backlogMs: readonly number[]): void {
  const results = PHASES.map((kind, p) => {
    const ratio = (figure: 'p50' | 'p99') =>
      medianOf(phases[p]!, (one, round) => one[figure] / phases[0]![round]![figure]);
    return {
      kind,
      ...medians(phases[p]!),
      perSecond: medianOf(phases[p]!, ({ perSecond }) => perSecond),
      perWorkingSecond: medianOf(phases[p]!, ({ perWorkingSecond }) => perWorkingSecond),
      ratios: { p50: ratio('p50'), p99: ratio('p99') },
    };
  });
  const rows = results.map(({ kind, p50, p99, ratios, perSecond, perWorkingSecond }) => [
    kind,
    ...[p50, p99].map((ms) => ms.toFixed(1)),
    ...[ratios.p50, ratios.p99].map((one) => one.toFixed(2)),
    ...[perSecond, perWorkingSecond].map((one) => (kind === NOTHING ? '' : one.toFixed(0))),
  ]);
  const head = ['removed meanwhile', 'p50 ms', 'p99 ms', 'p50 ÷', 'p99 ÷', 'rows/s', 'rows/s working'];
  const run = environment();
  const text = `${run.date}, Node ${run.node}, ${run.machine}, ${STATIONS} stations, ${MIX.name}, ${rate.toFixed(0)} pairings a second,
medians of ${run.rounds} rounds of ${PHASE_SECONDS} s each; ÷: of the phase without the cleanup in the same round
the backlog is read in ${medianOf(backlogMs, (ms) => ms).toFixed(0)} ms

${table([head, ...rows])}
`;
  save('retention', text, { ...run, settings: SETTINGS, stations: STATIONS, rate, backlogMs, results });
}

void runWithPostgres(SETTINGS, main);
