import { createDatabase } from './database';
import { type Measured, measureOperation, measurePairings, medians, percentile, totalUs } from './measure';
import { incorrectCode, issueCode, type Operation, takenUid } from './operations';
import { ROUNDS, scaled } from './options';
import { startPgbench } from './peers/pgbench';
import { type Postgres, withPostgres } from './postgres';
import { COLUMNS, columnsOf, environment, save, table } from './report';
import { type HttpTarget, type Mix, startHttpTarget, type Target } from './target';

// Compares the service with its peers: each pairs the same stations, over as many connections, in a database of its own of
// one PostgreSQL. A round measures every target with every mix, one after another; ratios are taken within a round.

const MIXES: readonly (Mix & { requests: number })[] = [
  { name: '1 CPO, 32 callers', cpos: 1, connections: 32, requests: 4096 },
  { name: '10 CPOs, 32 callers', cpos: 10, connections: 32, requests: 4096 },
  { name: '100 CPOs, 32 callers', cpos: 100, connections: 32, requests: 4096 },
  { name: '10 CPOs, a lone caller', cpos: 10, connections: 1, requests: 1024 },
];

/** What else the service is asked, and how many times for each pairing. Codes stay active: fewer are issued. */
const OTHERS: Readonly<Record<string, { operation: Operation; share: number }>> = {
  '404': { operation: incorrectCode, share: 1 },
  '409': { operation: takenUid, share: 1 },
  'a code issued': { operation: issueCode, share: 1 / 8 },
};

/** V8 optimises the code of a target during this many pairings. */
const WARM_UP_PAIRINGS = 12_288;

const HTTP_TARGETS = [
  {
    name: 'service',
    description: 'this service, production settings, every promise of the contract',
    script: '../src/main.js',
  },
  {
    name: 'fastify',
    description: 'Fastify 5, pg with one prepared statement, ajv; pairs and nothing else',
    script: 'peers/fastify.js',
  },
  {
    name: 'conventional',
    description: 'Express and TypeORM: find, exists, nested save() in a transaction',
    script: 'peers/conventional.js',
    share: 1 / 16,
  },
];

/** What was measured in one round with one mix: pairings by target, then the service's other operations by name. */
type Round = Readonly<Record<string, Measured>>;

async function main(postgres: Postgres): Promise<void> {
  const http: HttpTarget[] = [];
  for (const about of HTTP_TARGETS)
    http.push(await startHttpTarget(about, await createDatabase(postgres, about.name), postgres.folder));
  const targets = [...http, await startPgbench(await createDatabase(postgres, 'lean'), postgres.folder)];
  const pair = (target: Target, mix: Mix, requests: number) =>
    measurePairings(target, mix, scaled(requests, mix.connections, target.share));

  for (const target of targets) await pair(target, MIXES[1]!, WARM_UP_PAIRINGS);
  const rounds = MIXES.map((): Round[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, mix] of MIXES.entries()) {
      const measured: Record<string, Measured> = {};
      for (const target of targets) measured[target.name] = await pair(target, mix, mix.requests);
      for (const [name, { operation, share }] of Object.entries(OTHERS))
        measured[name] = await measureOperation(http[0]!, operation, mix, scaled(mix.requests, mix.connections, share));
      rounds[i]!.push(measured);
    }
  for (const target of targets) await target.stop();
  report(targets, rounds);
}

function report(targets: readonly Target[], rounds: readonly Round[][]): void {
  const names = targets.map(({ name }) => name);
  const mixes = MIXES.map(({ name, connections }, i) => ({
    name,
    connections,
    results: mediansOf(names, rounds[i]!),
    ratios: Object.fromEntries(names.slice(1).map((peer) => [peer, ratiosTo(peer, rounds[i]!)])),
    others: mediansOf(Object.keys(OTHERS), rounds[i]!),
  }));
  const run = environment();
  const text = mixes.map(({ name, results, ratios, others }) => {
    const cost = table([
      [name, ...COLUMNS, 'of a pairing'],
      ...Object.entries(results).map(([target, one]) => [target, ...columnsOf(one), '']),
      ...Object.entries(others).map(([operation, one]) => [
        `service: ${operation}`,
        ...columnsOf(one),
        (totalUs(one) / totalUs(results.service!)).toFixed(2),
      ]),
    ]);
    const comparison = table([
      ['', 'per second', 'p50', 'PostgreSQL'],
      ...Object.entries(ratios).map(([peer, { rps, p50, postgresUs }]) => [
        `service / ${peer}`,
        ...[rps, p50, postgresUs].map((ratio) => ratio.toFixed(2)),
      ]),
    ]);
    return `${cost}\n${comparison}\n`;
  });
  const head = `${run.date}, Node ${run.node}, ${run.machine}, medians of ${run.rounds} interleaved rounds; CPU time per request\n`;
  save(`node-${process.versions.node.split('.')[0]}`, [head, ...text].join('\n'), {
    ...run,
    contenders: targets.map(({ name, description }) => ({ name, what: description })),
    mixes,
  });
}

const mediansOf = (names: readonly string[], rounds: readonly Round[]) =>
  Object.fromEntries(names.map((name) => [name, medians(rounds.map((round) => round[name]!))]));

/** Returns the medians of the rounds' ratios of the service's figures to a peer's. */
function ratiosTo(peer: string, rounds: readonly Round[]) {
  const ratio = (figure: keyof Measured) =>
    percentile(
      rounds.map((round) => round.service![figure] / round[peer]![figure]),
      0.5,
    );
  return { rps: ratio('rps'), p50: ratio('p50'), postgresUs: ratio('postgresUs') };
}

void withPostgres({ shared_buffers: '256MB', max_wal_size: '4GB' }, main).catch((error) => {
  console.error(error);
  process.exit(1);
});
