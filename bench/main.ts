import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../src/embedded-postgres/launcher';
import { type Contender, type Mix, overHttp } from './contenders';
import { issuing, type Measured, measure, refusals } from './measure';
import { pgbench } from './pgbench';
import { median } from './processes';
import { type MixReport, write } from './report';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
/** V8 goes on getting faster until then. */
const WARM_UP = 12_288;

const MIXES: readonly Mix[] = [
  { name: '1 CPO, 32 callers', cpos: 1, connections: 32, perRound: 4096 },
  { name: '10 CPOs, 32 callers', cpos: 10, connections: 32, perRound: 4096 },
  { name: '100 CPOs, 32 callers', cpos: 100, connections: 32, perRound: 4096 },
  { name: '10 CPOs, a lone caller', cpos: 10, connections: 1, perRound: 1024 },
];

/** Who pairs beside whom. */
async function start(folder: string, url: string) {
  const service = await overHttp(folder, url, {
    name: 'service',
    what: 'this service, production settings, every promise of the contract',
    script: '../src/main.js',
  });
  const fastify = await overHttp(folder, url, {
    name: 'fastify',
    what: 'Fastify 5, pg with one prepared statement, ajv; pairs and nothing else',
    script: 'peers/fastify.js',
  });
  const conventional = await overHttp(folder, url, {
    name: 'conventional',
    what: 'Express and TypeORM: find, exists, nested save() in a transaction',
    script: 'peers/conventional.js',
    share: 1 / 16,
  });
  const lean = await pgbench(folder, url, {
    name: 'lean',
    what: 'the statement of the Fastify peer by pgbench: no web server, no limits, attempts or events',
  });
  return { service, peers: [fastify, conventional, lean] };
}

function medians(all: readonly Measured[]): Measured {
  const of = (field: keyof Measured) => median(all.map((one) => one[field]));
  return {
    rps: of('rps'),
    p50: of('p50'),
    p99: of('p99'),
    serviceUs: of('serviceUs'),
    postgresUs: of('postgresUs'),
  };
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-bench-'));
  chmodSync(folder, 0o711);
  const postgres = await startEmbedded({
    dir: join(folder, 'data'),
    settings: { max_connections: '200', shared_buffers: '256MB', max_wal_size: '4GB' },
  });
  const postmaster = Number(readFileSync(join(folder, 'data/postgres/data/postmaster.pid'), 'utf8').split('\n')[0]);
  const { service, peers } = await start(folder, postgres.url);
  const contenders: Contender[] = [service, ...peers];
  const countOf = (contender: Contender, count: number) => Math.max(32, Math.round(count * (contender.share ?? 1)));
  try {
    for (const contender of contenders)
      await (await contender.prepare({ ...(MIXES[1] as Mix), perRound: countOf(contender, WARM_UP) }))();
    const rounds: Record<string, Record<string, Measured>>[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const results: Record<string, Record<string, Measured>> = {};
      for (const mix of MIXES) {
        const ofMix: Record<string, Measured> = {};
        for (const contender of contenders) {
          const mine = { ...mix, perRound: countOf(contender, mix.perRound) };
          ofMix[contender.name] = await measure(contender, postmaster, mine);
        }
        results[mix.name] = ofMix;
      }
      rounds.push(results);
    }
    const mixes: MixReport[] = [];
    for (const mix of MIXES) {
      const of = (name: string) => rounds.flatMap((round) => round[mix.name]?.[name] ?? []);
      const ratio = (peer: string, field: keyof Measured) =>
        median(of(peer).map((theirs, i) => (of('service')[i]?.[field] ?? 0) / theirs[field]));
      mixes.push({
        name: mix.name,
        connections: mix.connections,
        results: Object.fromEntries(contenders.map(({ name }) => [name, medians(of(name))])),
        ratios: Object.fromEntries(
          peers.map(({ name }) => [
            name,
            { rps: ratio(name, 'rps'), p50: ratio(name, 'p50'), postgresUs: ratio(name, 'postgresUs') },
          ]),
        ),
        others: {
          ...(await refusals(folder, service, postmaster, mix)),
          'a code issued': await issuing(folder, service, postmaster, mix),
        },
      });
    }
    write({
      date: new Date().toISOString().slice(0, 10),
      node: process.version,
      machine: `${cpus().length} × ${cpus()[0]?.schema}`,
      rounds: ROUNDS,
      contenders: contenders.map(({ name, what }) => ({ name, what })),
      mixes,
    });
  } finally {
    for (const contender of contenders) {
      contender.stop();
      await contender.world.sql.end();
    }
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

void main().catch((error) => {
  console.error(error);
  process.exit(1);
});
