import { createDatabase } from './database';
import { type Measured, measureOperation, measurePairings, medianOf, medians, totalUs } from './measure';
import { incorrectCode, issueCode, type Operation, takenUid } from './operations';
import { ROUNDS, scaled } from './options';
import { startPgbench } from './peers/pgbench';
import { type Postgres, runWithPostgres } from './postgres';
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

const LEAN = 'the statement of the Fastify peer by pgbench: no web server, no limits, attempts or events';

async function startTargets(postgres: Postgres): Promise<[HttpTarget, ...Target[]]> {
  const http = async (name: string, description: string, script: string, share = 1) =>
    startHttpTarget({ name, description, script, share }, await createDatabase(postgres, name), postgres.folder);
  return [
    await http('service', 'this service, production settings, every promise of the contract', '../src/main.js'),
    await http('fastify', 'Fastify 5, pg, ajv; one prepared statement that pairs and nothing else', 'peers/fastify.js'),
    await http('conventional', 'Express, TypeORM, nested save() in a transaction', 'peers/conventional.js', 1 / 16),
    await startPgbench('lean', LEAN, await createDatabase(postgres, 'lean'), postgres.folder),
  ];
}

/** What was measured in one round with one mix: pairings by target, then the service's other operations by name. */
type Round = Readonly<Record<string, Measured>>;

async function main(postgres: Postgres): Promise<void> {
  const targets = await startTargets(postgres);
  const pair = (target: Target, mix: Mix, requests: number) =>
    measurePairings(target, mix, scaled(requests, mix.connections, target.share));

  for (const target of targets) await pair(target, MIXES[1]!, WARM_UP_PAIRINGS);
  const rounds = MIXES.map((): Round[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, mix] of MIXES.entries()) {
      const measured: Record<string, Measured> = {};
      for (const target of targets) measured[target.name] = await pair(target, mix, mix.requests);
      for (const [name, { operation, share }] of Object.entries(OTHERS)) {
        const requests = scaled(mix.requests, mix.connections, share);
        measured[name] = await measureOperation(targets[0], operation, mix, requests);
      }
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
    const rows = Object.entries(results).map(([target, one]) => {
      const { rps, p50, postgresUs } = ratios[target] ?? { rps: 1, p50: 1, postgresUs: 1 };
      return [target, ...columnsOf(one), ...[rps, p50, postgresUs].map(inHundredths), ''];
    });
    const otherRows = Object.entries(others).map(([operation, one]) => {
      const ofPairing = totalUs(one) / totalUs(results.service!);
      return [`service: ${operation}`, ...columnsOf(one), '', '', '', inHundredths(ofPairing)];
    });
    return table([
      [name, ...COLUMNS, 'service ÷ it: per second', 'p50', 'PostgreSQL', 'of a pairing'],
      ...rows,
      ...otherRows,
    ]);
  });
  const head = `${run.date}, Node ${run.node}, ${run.machine}, medians of ${run.rounds} interleaved rounds; CPU time per request`;
  save(`node-${process.versions.node.split('.')[0]}`, `${[head, ...text].join('\n\n')}\n`, {
    ...run,
    targets: targets.map(({ name, description }) => ({ name, description })),
    mixes,
  });
}

const inHundredths = (ratio: number) => ratio.toFixed(2);
const mediansOf = (names: readonly string[], rounds: readonly Round[]) =>
  Object.fromEntries(names.map((name) => [name, medians(rounds.map((round) => round[name]!))]));

/** Returns the medians of the rounds' ratios of the service's figures to a peer's. */
function ratiosTo(peer: string, rounds: readonly Round[]) {
  const ratio = (figure: keyof Measured) => medianOf(rounds, (round) => round.service![figure] / round[peer]![figure]);
  return { rps: ratio('rps'), p50: ratio('p50'), postgresUs: ratio('postgresUs') };
}

void runWithPostgres({ shared_buffers: '256MB', max_wal_size: '4GB' }, main);
