import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashCode } from '../src/codes/code';
import { readConfig } from '../src/config';
import { startEmbedded } from '../src/db/embedded';
import { pairStatement } from '../src/pairing/pair-statement';
import { deriveKeys } from '../src/secrets';
import { drawChart } from './chart';
import type { LoadResult } from './load';
import { createWorld, SECRET_KEY, seedStation, type World } from './world';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const CONNECTIONS = 32;
/** Requests of a refusal that are sent between two resets of the counted tries. */
const STEP = 100;
const HIGH = '1000000';
const DIST = join(__dirname);
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

type Contender = {
  readonly name: string;
  readonly what: string;
  readonly world: World;
  readonly perRound: number;
  readonly warmUp: number;
  /** Makes codes and requests for so many pairings; what it returns sends them. Latencies in ms. */
  prepare(count: number, rate?: number): Promise<() => Promise<{ seconds: number; latencies: number[] }>>;
  pid?: number;
  stop(): void;
};
type Measured = { rps: number; p50: number; p99: number; serviceUs: number; postgresUs: number };

/** User and system time that a process has used, µs; with those of its children that have ended when asked for. */
function cpuOf(pid: number, withChildren = false): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const ticks = Number(fields[11]) + Number(fields[12]) + (withChildren ? Number(fields[13]) + Number(fields[14]) : 0);
  return (ticks * 1e6) / TICKS_PER_SECOND;
}

function postgresCpu(postmaster: number): number {
  let sum = cpuOf(postmaster, true);
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      if (Number(fields[1]) === postmaster) sum += cpuOf(Number(name));
    } catch {
      // Gone in the meantime.
    }
  }
  return sum;
}

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const percentile = (values: number[], p: number) =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * p)] ?? 0;

function request(world: World, body: string, token = world.token): string {
  const head = [
    'POST /v1/scsp/ocpp2.0.1/pair HTTP/1.1',
    'Host: localhost',
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n');
  return Buffer.from(head).toString('base64');
}

let uids = 0;
const freshUid = () => `bench-${process.pid}-${uids++}-5f69ad2c0ed5`;
const pairBody = (code: string, uid = freshUid()) => JSON.stringify({ code, charging_station: seedStation(uid) });

async function load(folder: string, port: number, requests: string[], rate?: number): Promise<LoadResult> {
  const file = join(folder, 'requests');
  writeFileSync(file, requests.join('\n'));
  const child = spawn(
    process.execPath,
    [join(DIST, 'load.js'), JSON.stringify({ port, connections: CONNECTIONS, file, rate })],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  return JSON.parse(output);
}

async function launch(
  script: string,
  env: Record<string, string>,
  ready: RegExp,
): Promise<ChildProcess & { said: string }> {
  const child = Object.assign(
    spawn(process.execPath, [script], {
      env: { PATH: process.env.PATH ?? '', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
    { said: '' },
  );
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (chunk) => {
      if (ready.test(child.said)) return;
      child.said += chunk;
      if (ready.test(child.said)) resolve();
    });
    child.on('close', () => reject(new Error(`${script} ended`)));
  });
  return child;
}

const LIMITS = { LIMIT_CPO_10MIN: HIGH, LIMIT_CPO_24H: HIGH, LIMIT_CPO_UID_10MIN: HIGH };

async function overHttp(
  folder: string,
  adminUrl: string,
  contender: Pick<Contender, 'name' | 'what' | 'perRound' | 'warmUp'> & {
    script: string;
    port: number;
    env?: Record<string, string>;
    ready: RegExp;
  },
): Promise<Contender & { port: number }> {
  const world = await createWorld(adminUrl, contender.name);
  const child = await launch(
    join(DIST, contender.script),
    {
      DATABASE_URL: world.url,
      PORT: String(contender.port),
      NODE_ENV: 'production',
      SECRET_KEY,
      DATA_DIR: folder,
      ...LIMITS,
      ...contender.env,
    },
    contender.ready,
  );
  return {
    ...contender,
    world,
    ...(child.pid !== undefined && { pid: child.pid }),
    async prepare(count, rate) {
      const requests = (await world.codes(count)).map((code) => request(world, pairBody(code)));
      return async () => {
        const result = await load(folder, contender.port, requests, rate);
        if (result.statuses['200'] !== count) throw new Error(`${contender.name}: ${JSON.stringify(result.statuses)}`);
        return result;
      };
    },
    stop: () => void child.kill('SIGTERM'),
  };
}

/** The limit: the same statement, prepared, sent by pgbench; one pairing each. */
async function pgbench(folder: string, adminUrl: string): Promise<Contender> {
  const world = await createWorld(adminUrl, 'pgbench');
  const binary = [
    '/usr/bin/pgbench',
    ...readdirs('/usr/lib/postgresql').map((v) => `/usr/lib/postgresql/${v}/bin/pgbench`),
  ].find((path) => existsSync(path));
  if (binary === undefined) throw new Error('pgbench is needed: apt-get install postgresql-contrib');
  const config = readConfig({ DATABASE_URL: world.url, ...LIMITS });
  const [key] = deriveKeys(SECRET_KEY).pairingCode;
  await world.sql.query(
    'create table bench_requests (n int primary key, body jsonb); create sequence bench_next cache 1',
  );
  const script = join(folder, 'pair.sql');
  const statement = pairStatement(config)
    .replace('$1::jsonb', "(select body from bench_requests where n = (select nextval('bench_next')))")
    .replaceAll('$2', `'${world.cpoId}'::uuid`)
    .replace(/\s*\n\s*/g, ' ')
    .trim();
  writeFileSync(script, `${statement};\n`);
  const url = new URL(world.url);
  let made = 0;
  return {
    name: 'pgbench',
    what: 'the same statement by pgbench, prepared: the limit of one pairing a commit',
    world,
    perRound: 512,
    warmUp: 512,
    async prepare(count, rate) {
      const codes = await world.codes(count);
      const bodies = codes.map((code) => {
        const uid = freshUid();
        const station = seedStation(uid);
        return JSON.stringify([
          {
            n: 0,
            pairing_id: crypto.randomUUID(),
            event_id: crypto.randomUUID(),
            attempt_id: crypto.randomUUID(),
            request_id: crypto.randomUUID(),
            code_length: code.length,
            code_hashes: [`\\x${hashCode(key as Buffer, code).toString('hex')}`],
            payload_protocol: 'ocpp2.0.1',
            uid,
            station_uid: uid,
            evses: station.evses.map((evse) => ({ ...evse, evse_id: String(evse.evse_id) })),
          },
        ]);
      });
      await world.sql.query(
        'insert into bench_requests select $1::int + n, body::jsonb from unnest($2::text[]) with ordinality as t (body, n)',
        [made, bodies],
      );
      made += count;
      const log = join(folder, 'pgbench-log');
      const args = [
        '-n',
        '-M',
        'prepared',
        '-c',
        String(CONNECTIONS),
        '-j',
        '1',
        '-t',
        String(count / CONNECTIONS),
        '-f',
        script,
        '-l',
        '--log-prefix',
        log,
      ];
      if (rate !== undefined) args.push('-R', String(rate));
      return () => runPgbench(binary, args, url, folder, count);
    },
    stop() {},
  };
}

async function runPgbench(binary: string, args: string[], url: URL, folder: string, count: number) {
  const child = spawn(binary, args, {
    env: {
      PGHOST: url.hostname,
      PGPORT: url.port,
      PGUSER: url.username,
      PGPASSWORD: decodeURIComponent(url.password),
      PGDATABASE: url.pathname.slice(1),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  const tps = Number(/tps = ([\d.]+)/.exec(output)?.[1]);
  const latencies: number[] = [];
  for (const file of readdirSync(folder).filter((name) => name.startsWith('pgbench-log'))) {
    for (const line of readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean))
      latencies.push(Number(line.split(' ')[2]) / 1000);
    rmSync(join(folder, file));
  }
  return { seconds: count / tps, latencies };
}

const readdirs = (path: string) => (existsSync(path) ? readdirSync(path) : []);

async function measure(contender: Contender, postmaster: number, count: number, rate?: number): Promise<Measured> {
  const send = await contender.prepare(count, rate);
  const before = await contender.world.whole();
  await contender.world.sql.query('checkpoint');
  const service = contender.pid === undefined ? 0 : cpuOf(contender.pid);
  const postgres = postgresCpu(postmaster);
  const { seconds, latencies } = await send();
  const serviceUs = contender.pid === undefined ? 0 : (cpuOf(contender.pid) - service) / count;
  const postgresUs = (postgresCpu(postmaster) - postgres) / count;
  const after = await contender.world.whole();
  if (after - before !== count) throw new Error(`${contender.name}: of ${count} pairings ${after - before} are whole`);
  return {
    rps: count / seconds,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    serviceUs,
    postgresUs,
  };
}

/** What each refusal costs the service and PostgreSQL, µs of CPU. */
async function refusals(folder: string, service: Contender & { port: number }, postmaster: number) {
  const { world } = service;
  const [code = ''] = await world.codes(1);
  const taken = freshUid();
  await load(folder, service.port, [request(world, pairBody(code, taken))]);
  const count = 3_000;
  const open = await world.codes(1);
  const kinds: Record<string, (i: number) => string> = {
    '401': (i) => request(world, pairBody('1'), `scsp_cpo_${String(i).padStart(43, 'x')}`),
    '400': () => request(world, '{"code": 1, "charging_station": {"uid": "x", "evses": []}}'),
    '404': () => request(world, pairBody('999999')),
    '409': () => request(world, pairBody(open[0] ?? '', taken)),
  };
  const costs: Record<string, { rps: number; serviceUs: number; postgresUs: number }> = {};
  for (const [status, make] of Object.entries(kinds)) {
    const requests = Array.from({ length: count }, (_, i) => make(i));
    await load(folder, service.port, requests.slice(0, 500));
    let [serviceUs, postgresUs, seconds] = [0, 0, 0];
    // In steps, with the tries forgotten in between: no CPO has thousands of incorrect codes in ten minutes.
    for (let from = 0; from < count; from += STEP) {
      await world.sql.query(`update cpo_tries set wrong_at = '{}', wrong_uid = '{}'`);
      const step = requests.slice(from, from + STEP);
      const [before, postgres] = [cpuOf(service.pid ?? 0), postgresCpu(postmaster)];
      const result = await load(folder, service.port, step);
      if (result.statuses[status] !== step.length)
        throw new Error(`expected ${status}: ${JSON.stringify(result.statuses)}`);
      serviceUs += (cpuOf(service.pid ?? 0) - before) / count;
      postgresUs += (postgresCpu(postmaster) - postgres) / count;
      seconds += result.seconds;
    }
    costs[status] = { rps: count / seconds, serviceUs, postgresUs };
  }
  return costs;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-bench-'));
  chmodSync(folder, 0o711);
  const postgres = await startEmbedded({
    dir: join(folder, 'data'),
    settings: { max_connections: '200', shared_buffers: '256MB', max_wal_size: '4GB' },
  });
  const postmaster = Number(readFileSync(join(folder, 'data/postgres/data/postmaster.pid'), 'utf8').split('\n')[0]);
  const service = await overHttp(folder, postgres.url, {
    name: 'service',
    what: 'this service, production settings, every promise of the contract',
    script: '../src/main.js',
    port: 3901,
    perRound: 4096,
    warmUp: 12_288,
    ready: /"message":"listening"/,
  });
  const fastify = await overHttp(folder, postgres.url, {
    name: 'fastify',
    what: 'Fastify 5, pg with one prepared statement, ajv; pairs and nothing else',
    script: 'peers/fastify.js',
    port: 3902,
    perRound: 4096,
    warmUp: 12_288,
    ready: /listening/,
  });
  const conventional = await overHttp(folder, postgres.url, {
    name: 'conventional',
    what: 'Express and TypeORM, find, exists, nested save() in a transaction',
    script: 'peers/conventional.js',
    port: 3903,
    perRound: 320,
    warmUp: 640,
    ready: /listening/,
  });
  const contenders: Contender[] = [service, fastify, conventional, await pgbench(folder, postgres.url)];
  try {
    for (const contender of contenders) await (await contender.prepare(contender.warmUp))();
    const rounds = new Map(contenders.map(({ name }) => [name, [] as Measured[]]));
    for (let round = 0; round < ROUNDS; round++)
      for (const contender of contenders)
        rounds.get(contender.name)?.push(await measure(contender, postmaster, contender.perRound));
    const results = Object.fromEntries(
      [...rounds].map(([name, all]) => [
        name,
        Object.fromEntries(
          Object.keys(all[0] ?? {}).map((field) => [field, median(all.map((one) => one[field as keyof Measured]))]),
        ) as Measured,
      ]),
    );
    const [ours, limit] = [results.service, results.pgbench];
    if (ours === undefined || limit === undefined) throw new Error('nothing measured');
    // Half of what each can do, and what the 99th of a hundred then waits.
    const half: Record<string, number> = {};
    for (const contender of contenders.filter(({ name }) => name === 'service' || name === 'pgbench')) {
      const rate = Math.floor(Math.min(ours.rps, limit.rps) / 2);
      half[contender.name] = (await measure(contender, postmaster, 4096, rate)).p99;
    }
    const costs = await refusals(folder, service, postmaster);
    report({
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus().length} × ${cpus()[0]?.model}`,
      results,
      half,
      costs,
      contenders,
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

type Report = {
  date: string;
  machine: string;
  results: Record<string, Measured>;
  half: Record<string, number>;
  costs: Record<string, { rps: number; serviceUs: number; postgresUs: number }>;
  contenders: readonly Contender[];
};

function report({ date, machine, results, half, costs, contenders }: Report): void {
  const n = (value: number | undefined, width: number, digits = 0) => (value ?? 0).toFixed(digits).padStart(width);
  const lines = [
    `${date}, ${machine}, ${CONNECTIONS} connections, medians of ${ROUNDS} interleaved rounds`,
    '',
    'pairings         per second   p50 ms   p99 ms   CPU µs: service + PostgreSQL',
    ...contenders.map(({ name }) => {
      const r = results[name];
      return `${name.padEnd(14)} ${n(r?.rps, 12)} ${n(r?.p50, 8, 1)} ${n(r?.p99, 8, 1)} ${n(r?.serviceUs, 16)} ${n(r?.postgresUs, 12)}`;
    }),
    '',
    ...['fastify', 'conventional', 'pgbench'].map(
      (peer) => `service / ${peer}: ${n((results.service?.rps ?? 0) / (results[peer]?.rps ?? 1), 0, 2)}`,
    ),
    `p99 at half of saturation: service ${n(half.service, 0, 1)} ms, pgbench ${n(half.pgbench, 0, 1)} ms, ratio ${n((half.service ?? 0) / (half.pgbench ?? 1), 0, 2)}`,
    '',
    'refusals         per second   CPU µs: service + PostgreSQL   of a pairing',
    ...Object.entries(costs).map(([status, cost]) => {
      const pairing = (results.service?.serviceUs ?? 0) + (results.service?.postgresUs ?? 0);
      return `${status.padEnd(14)} ${n(cost.rps, 12)} ${n(cost.serviceUs, 15)} ${n(cost.postgresUs, 12)} ${n((cost.serviceUs + cost.postgresUs) / pairing, 14, 2)}`;
    }),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  const out = join(DIST, '../../bench/results');
  if (!existsSync(out)) return;
  writeFileSync(join(out, 'latest.txt'), `${lines.join('\n')}\n`);
  writeFileSync(
    join(out, 'latest.json'),
    `${JSON.stringify({ date, machine, connections: CONNECTIONS, rounds: ROUNDS, results, half, costs }, null, 2)}\n`,
  );
  writeFileSync(
    join(out, 'latest.svg'),
    drawChart(
      date,
      contenders.map(({ name, what }) => ({ name, what, value: results[name]?.rps ?? 0 })),
    ),
  );
}

void main().catch((error) => {
  console.error(error);
  process.exit(1);
});
