import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type Database } from './database';
import { startObserver } from './events/observer';
import { PACES, TIMES, type Times, timeEvents } from './events/times';
import { measurePairings, medianOf, type Settled } from './measure';
import { ROUNDS, scaled } from './options';
import { type Postgres, runWithPostgres } from './postgres';
import { COLUMNS, columnsOf, environment, save, table } from './report';
import { httpRequest } from './requests';
import { type HttpTarget, type Mix, startHttpTarget } from './target';

// Shows what webhook endpoints add to the cost of a pairing, and how soon events arrive. Each number of endpoints is a service
// with a database of its own; all are in one PostgreSQL. A round measures one service after another, and compares it with the
// one without endpoints in the same round. Every measurement waits until the deliveries of the one before are done.

const ENDPOINTS = [0, 2, 10];
/** The index of the service whose events are timed. */
const TIMED = 1;

const MIXES: readonly (Mix & { requests: number })[] = [
  { name: '10 CPOs, 32 callers', cpos: 10, connections: 32, requests: 1024 },
  { name: '10 CPOs, a lone caller', cpos: 10, connections: 1, requests: 256 },
];
const WARM_UP_PAIRINGS = 1024;

const FIGURES = ['rps', 'p50', 'p99', 'serviceUs', 'postgresUs', 'settledServiceUs', 'settledPostgresUs'] as const;
/** Reads the first entry of an index, which holds little else. */
const UNSETTLED = `
select (select seq from events where position is null and seq is not null order by seq limit 1) is not null
  or (select endpoint_id from webhook_deliveries where status = 'pending' order by endpoint_id limit 1) is not null as unsettled`;
const SETTLES_WITHIN_MS = 600_000;

/** Waits until every event is published and every delivery is done. */
async function settle({ sql }: Database): Promise<void> {
  for (const deadline = performance.now() + SETTLES_WITHIN_MS; ; await sleep(100)) {
    const { rows } = await sql.query(UNSETTLED);
    if (!rows[0].unsettled) return;
    if (performance.now() > deadline) throw new Error('Deliveries are not done in 10 minutes.');
  }
}

async function startService(postgres: Postgres, endpoints: number, receiver: string): Promise<HttpTarget> {
  const database = await createDatabase(postgres, `events_${endpoints}`, { sandbox: true });
  const about = { name: `${endpoints} endpoints`, description: 'this service', script: '../src/main.js' };
  const service = await startHttpTarget(about, database, postgres.folder);
  const requests = Array.from({ length: endpoints }, (_, n) =>
    httpRequest('POST', '/v1/app/webhook-endpoints', database.appToken, { url: `${receiver}/${n}` }),
  );
  if (endpoints > 0) await service.prepareRequests(requests, '201', 1)();
  return { ...service, settle: () => settle(database) };
}

/** Checks that every pairing was delivered to every endpoint. */
async function verifyDeliveries({ name, database }: HttpTarget, endpoints: number): Promise<void> {
  const { rows } = await database.sql.query(
    `select (select count(*) from pairings)::int * $1 as expected,
       (select count(*) from webhook_deliveries where status = 'delivered')::int as delivered`,
    [endpoints],
  );
  if (rows[0].delivered !== rows[0].expected)
    throw new Error(`${name}: of ${rows[0].expected} deliveries ${rows[0].delivered} are done.`);
}

async function main(postgres: Postgres): Promise<void> {
  const observer = startObserver();
  const receiver = `http://127.0.0.1:${(await observer.order({})).port}`;
  const services: HttpTarget[] = [];
  for (const endpoints of ENDPOINTS) services.push(await startService(postgres, endpoints, receiver));
  for (const service of services) {
    await measurePairings(service, MIXES[0]!, scaled(WARM_UP_PAIRINGS, MIXES[0]!.connections));
    await service.database.sql.query('vacuum (analyze)');
  }
  const timed = services[TIMED]!;
  await observer.order({ follow: { url: timed.url, token: timed.database.appToken } });

  const costs = MIXES.map(() => services.map((): Settled[] => []));
  const times = PACES.map((): Times[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [m, mix] of MIXES.entries())
      for (const [s, service] of services.entries())
        costs[m]![s]!.push(await measurePairings(service, mix, scaled(mix.requests, mix.connections)));
    const saturation = costs[0]![TIMED]![round]!.rps;
    for (const [p, pace] of PACES.entries())
      times[p]!.push(await timeEvents(timed, ENDPOINTS[TIMED]!, observer, pace, saturation));
  }
  for (const [s, service] of services.entries()) await verifyDeliveries(service, ENDPOINTS[s]!);
  observer.stop();
  for (const service of services) await service.stop();
  report(costs, times);
}

type Medians<F extends string> = Readonly<Record<F, number>>;

/** Returns the median of each figure over the rounds. */
function mediansOf<F extends string>(figures: readonly F[], figure: (name: F, round: number) => number): Medians<F> {
  const rounds = Array.from({ length: ROUNDS });
  const medians = figures.map((name) => [name, medianOf(rounds, (_, round) => figure(name, round))] as const);
  return Object.fromEntries(medians) as Medians<F>;
}

/**
 * @param costs by mix, service and round
 * @param times by pace and round
 */
function report(costs: readonly Settled[][][], times: readonly Times[][]): void {
  const pairings = MIXES.map(({ name }, m) => {
    const results = ENDPOINTS.map((endpoints, s) => {
      const figure = (f: keyof Settled, round: number) => costs[m]![s]![round]![f];
      const ratios = mediansOf(FIGURES, (f, round) => figure(f, round) / costs[m]![0]![round]![f]);
      return { endpoints, ...mediansOf(FIGURES, figure), ratios };
    });
    return { name, results };
  });
  const events = PACES.map(({ name }, p) => ({ name, ...mediansOf(TIMES, (f, round) => times[p]![round]![f]) }));

  const costTables = pairings.map(({ name, results }) => {
    const rows = results.flatMap(({ endpoints, ratios, ...one }) => [
      [`${endpoints} endpoints`, ...columnsOf(one), one.settledServiceUs.toFixed(0), one.settledPostgresUs.toFixed(0)],
      ...(endpoints === 0 ? [] : [['  ÷ 0 endpoints', ...FIGURES.map((f) => ratios[f].toFixed(2))]]),
    ]);
    return table([[name, ...COLUMNS, 'delivered: service µs', 'PostgreSQL µs'], ...rows]);
  });
  const timeTable = table([
    [`ms from paired_at, ${ENDPOINTS[TIMED]} endpoints`, 'per second', 'first attempt p50', 'p99', 'feed p50', 'p99'],
    ...events.map((one) => [one.name, ...TIMES.map((f) => one[f].toFixed(0))]),
  ]);
  const run = environment();
  const head = `${run.date}, Node ${run.node}, ${run.machine}, medians of ${run.rounds} interleaved rounds; CPU time per pairing`;
  save('events', `${[head, ...costTables, timeTable].join('\n\n')}\n`, { ...run, pairings, events });
}

void runWithPostgres({ shared_buffers: '256MB', max_wal_size: '4GB' }, main);
