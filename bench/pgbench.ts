import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hashCode } from '../src/codes/code';
import { deriveKeys } from '../src/crypto/keys';
import { type Contender, freshUid } from './contenders';
import { PAIR_ONLY } from './peers/one-statement';
import { createWorld, SECRET_KEY, seedStation, type World } from './world';

const NEXT = `(select body from bench_requests where n = (select nextval('bench_next')))`;

/** The least that a pairing can be: the statement of the Fastify peer, each value read from the next request. */
function leanStatement(world: World): string {
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
}

const requestOf = (code: string, hash: string, uid: string) => ({
  length: code.length,
  hash,
  pairing_id: crypto.randomUUID(),
  uid,
  evses: evses(uid),
});

const evses = (uid: string) => seedStation(uid).evses.map((evse) => ({ ...evse, evse_id: String(evse.evse_id) }));

/** pgbench with the lean statement, prepared: one pairing a commit, and nothing but PostgreSQL in the way. */
export async function pgbench(
  folder: string,
  adminUrl: string,
  about: Pick<Contender, 'name' | 'what'>,
): Promise<Contender> {
  const world = await createWorld(adminUrl, about.name);
  const binary = findPgbench();
  const [key] = deriveKeys(SECRET_KEY).pairingCode;
  await world.sql.query(
    'create table bench_requests (n int primary key, body jsonb); create sequence bench_next cache 1',
  );
  const script = join(folder, `${about.name}.sql`);
  const line = leanStatement(world).replace(/\s*\n\s*/g, ' ');
  writeFileSync(script, `${line.trim()};\n`);
  let made = 0;
  return {
    ...about,
    world,
    async prepare({ perRound, connections }) {
      const bodies = (await world.codes(perRound)).map((code) =>
        JSON.stringify(requestOf(code, `\\x${hashCode(key as Buffer, code).toString('hex')}`, freshUid())),
      );
      await world.sql.query(
        'insert into bench_requests select $1::int + n, body::jsonb from unnest($2::text[]) with ordinality as t (body, n)',
        [made, bodies],
      );
      made += perRound;
      return async () => {
        const result = await run(binary, script, new URL(world.url), folder, perRound, connections);
        // Its connections end with it: what their processes have used is with the postmaster a moment later.
        await sleep(200);
        return result;
      };
    },
    stop() {},
  };
}

async function run(binary: string, script: string, url: URL, folder: string, count: number, connections: number) {
  const clients = String(connections);
  const log = join(folder, 'pgbench-log');
  const args = ['-n', '-M', 'prepared', '-c', clients, '-j', '1', '-t', String(count / connections), '-f', script];
  const child = spawn(binary, [...args, '-l', '--log-prefix', log], {
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
