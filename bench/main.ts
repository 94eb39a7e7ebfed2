import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../src/db/embedded';
import { type Contender, overHttp } from './contenders';
import { type Measured, measure, refusals } from './measure';
import { LEAN_STATEMENT, pgbench, SERVICE_STATEMENT } from './pgbench';
import { median } from './processes';
import { write } from './report';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const PER_ROUND = 4096;
/** V8 goes on getting faster until then. */
const WARM_UP = 12_288;

/** Who pairs beside whom. */
async function line(
  folder: string,
  url: string,
): Promise<{ service: Contender & { port: number }; peers: Contender[] }> {
  const service = await overHttp(folder, url, {
    name: 'service',
    what: 'this service, production settings, every promise of the contract',
    script: '../src/main.js',
    perRound: PER_ROUND,
    warmUp: WARM_UP,
  });
  const fastify = await overHttp(folder, url, {
    name: 'fastify',
    what: 'Fastify 5, pg with one prepared statement, ajv; pairs and nothing else',
    script: 'peers/fastify.js',
    perRound: PER_ROUND,
    warmUp: WARM_UP,
  });
  const conventional = await overHttp(folder, url, {
    name: 'conventional',
    what: 'Express and TypeORM, find, exists, nested save() in a transaction',
    script: 'peers/conventional.js',
    perRound: 320,
    warmUp: 640,
  });
  const own = await pgbench(
    folder,
    url,
    {
      name: 'pgbench',
      what: 'the statement of the service by pgbench, one pairing a commit: the limit without sharing',
      perRound: 512,
      warmUp: 512,
    },
    SERVICE_STATEMENT,
  );
  const lean = await pgbench(
    folder,
    url,
    {
      name: 'pgbench-lean',
      what: 'the statement of the Fastify peer by pgbench: no web server, no limits, attempts or events',
      perRound: PER_ROUND,
      warmUp: PER_ROUND,
    },
    LEAN_STATEMENT,
  );
  return { service, peers: [fastify, conventional, own, lean] };
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
  const { service, peers } = await line(folder, postgres.url);
  const contenders = [service, ...peers];
  try {
    for (const contender of contenders) await (await contender.prepare(contender.warmUp))();
    const rounds: Record<string, Measured>[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const results: Record<string, Measured> = {};
      for (const contender of contenders)
        results[contender.name] = await measure(contender, postmaster, contender.perRound);
      rounds.push(results);
    }
    const of = (name: string) => rounds.flatMap((round) => round[name] ?? []);
    const results = Object.fromEntries(contenders.map(({ name }) => [name, medians(of(name))]));
    const ratioTo = (peer: string) => median(of(peer).map(({ rps }, i) => (of('service')[i]?.rps ?? 0) / rps));
    // A peer that cannot do so many queues without end.
    const rate = Math.floor((results.service?.rps ?? 0) / 2);
    const half: Record<string, Measured> = {};
    for (const contender of contenders)
      if ((results[contender.name]?.rps ?? 0) > rate * 1.1)
        half[contender.name] = await measure(contender, postmaster, PER_ROUND, rate);
    write({
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus().length} × ${cpus()[0]?.model}`,
      rounds: ROUNDS,
      contenders: contenders.map(({ name, what }) => ({ name, what })),
      results,
      ratios: Object.fromEntries(peers.map(({ name }) => [name, ratioTo(name)])),
      half,
      refusals: await refusals(folder, service, postmaster, PER_ROUND),
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
