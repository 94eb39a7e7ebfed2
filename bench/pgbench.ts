import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashCode } from '../src/codes/code';
import { readConfig } from '../src/config';
import { pairStatement } from '../src/pairing/pair-statement';
import { deriveKeys } from '../src/secrets';
import { type Contender, freshUid, LIMITS } from './contenders';
import { PAIR_ONLY } from './peers/one-statement';
import { CONNECTIONS } from './processes';
import { createWorld, SECRET_KEY, seedStation, type World } from './world';

/** A statement as pgbench sends it, and the request that each run of it reads. */
type Statement = {
  sql(world: World): string;
  request(code: string, hash: string, uid: string): object;
};

const NEXT = `(select body from bench_requests where n = (select nextval('bench_next')))`;

/** What the service sends, with one request in the set. */
export const SERVICE_STATEMENT: Statement = {
  sql: (world) =>
    pairStatement(readConfig({ DATABASE_URL: world.url, ...LIMITS }))
      .replace('$1::jsonb', NEXT)
      .replaceAll('$2', `'${world.cpoId}'::uuid`),
  request: (code, hash, uid) => [
    {
      n: 0,
      pairing_id: crypto.randomUUID(),
      event_id: crypto.randomUUID(),
      attempt_id: crypto.randomUUID(),
      request_id: crypto.randomUUID(),
      code_length: code.length,
      code_hashes: [hash],
      payload_protocol: 'ocpp2.0.1',
      uid,
      station_uid: uid,
      evses: evses(uid),
    },
  ],
};

/** The least that a pairing can be. */
export const LEAN_STATEMENT: Statement = {
  sql: (world) => {
    const field = (name: string, type: string) => `(select (r.body ->> '${name}')::${type} from request r)`;
    const values: Record<string, string> = {
      $1: field('length', 'smallint'),
      $2: field('hash', 'bytea'),
      $3: `'${world.cpoId}'::uuid`,
      $4: field('pairing_id', 'uuid'),
      $5: field('uid', 'text'),
      $6: field('uid', 'text'),
      $7: `'ocpp2.0.1'`,
      $8: field('evses', 'text'),
    };
    return PAIR_ONLY.replace(/\$\d/g, (name) => values[name] ?? name).replace(
      'with used as',
      `with request as materialized (select ${NEXT} as body), used as`,
    );
  },
  request: (code, hash, uid) => ({
    length: code.length,
    hash,
    pairing_id: crypto.randomUUID(),
    uid,
    evses: evses(uid),
  }),
};

const evses = (uid: string) => seedStation(uid).evses.map((evse) => ({ ...evse, evse_id: String(evse.evse_id) }));

/** pgbench with a statement, prepared: one pairing a commit, and nothing but PostgreSQL in the way. */
export async function pgbench(
  folder: string,
  adminUrl: string,
  about: Pick<Contender, 'name' | 'what' | 'perRound' | 'warmUp'>,
  statement: Statement,
): Promise<Contender> {
  const world = await createWorld(adminUrl, about.name);
  const binary = findPgbench();
  const [key] = deriveKeys(SECRET_KEY).pairingCode;
  await world.sql.query(
    'create table bench_requests (n int primary key, body jsonb); create sequence bench_next cache 1',
  );
  const script = join(folder, `${about.name}.sql`);
  const line = statement
    .sql(world)
    .replace(/^\s*--.*$/gm, '')
    .replace(/\s*\n\s*/g, ' ');
  writeFileSync(script, `${line.trim()};\n`);
  let made = 0;
  return {
    ...about,
    world,
    async prepare(count, rate) {
      const bodies = (await world.codes(count)).map((code) =>
        JSON.stringify(statement.request(code, `\\x${hashCode(key as Buffer, code).toString('hex')}`, freshUid())),
      );
      await world.sql.query(
        'insert into bench_requests select $1::int + n, body::jsonb from unnest($2::text[]) with ordinality as t (body, n)',
        [made, bodies],
      );
      made += count;
      return () => run(binary, script, new URL(world.url), folder, count, rate);
    },
    stop() {},
  };
}

async function run(binary: string, script: string, url: URL, folder: string, count: number, rate?: number) {
  const clients = String(CONNECTIONS);
  const log = join(folder, 'pgbench-log');
  const args = ['-n', '-M', 'prepared', '-c', clients, '-j', '1', '-t', String(count / CONNECTIONS), '-f', script];
  const child = spawn(
    binary,
    [...args, '-l', '--log-prefix', log, ...(rate === undefined ? [] : ['-R', String(rate)])],
    {
      env: {
        PGHOST: url.hostname,
        PGPORT: url.port,
        PGUSER: url.username,
        PGPASSWORD: decodeURIComponent(url.password),
        PGDATABASE: url.pathname.slice(1),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  const tps = Number(/tps = ([\d.]+)/.exec(output)?.[1]);
  const latencies: number[] = [];
  for (const file of readdirSync(folder).filter((name) => name.startsWith('pgbench-log'))) {
    for (const row of readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean))
      latencies.push(Number(row.split(' ')[2]) / 1000);
    rmSync(join(folder, file));
  }
  return { seconds: count / tps, latencies };
}

function findPgbench(): string {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : [];
  const places = ['/usr/bin/pgbench', ...versions.map((version) => `/usr/lib/postgresql/${version}/bin/pgbench`)];
  const binary = places.find((path) => existsSync(path));
  if (binary === undefined) throw new Error('pgbench is needed: apt-get install postgresql-contrib');
  return binary;
}
