import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { hashCode } from '../../src/codes/code';
import { deriveKeys } from '../../src/crypto/keys';
import { LIMITS } from '../contenders';
import { launch } from '../processes';
import { appToken, createWorld, SECRET_KEY } from '../world';
import { FEWEST, fill } from './fill';

const [KEY] = deriveKeys(SECRET_KEY).pairingCode;

/** A database with so many paired stations. */
export type Filled = { count: number; database: string; cpoId: string; cpoToken: string; appToken: string };
export type Level = Filled & { url: string; sql: Client; port: number; pid: number; stop(): Promise<void> };

/** Makes the databases that are not there yet; what there is stands in a file beside the cluster. */
export async function fillLevels(
  folder: string,
  adminUrl: string,
  counts: readonly number[],
  say: (text: string) => void,
): Promise<Filled[]> {
  const file = join(folder, 'levels.json');
  const filled: Filled[] = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : [];
  for (const count of counts.filter((one) => !filled.some((level) => level.count === one))) {
    const began = performance.now();
    const world = await createWorld(adminUrl, `growth_${count}`);
    const token = await appToken(world.sql);
    await world.sql.end();
    await fill(world.url, world.cpoId, Math.max(count, FEWEST));
    const database = new URL(world.url).pathname.slice(1);
    filled.push({ count, database, cpoId: world.cpoId, cpoToken: world.tokens[0] ?? '', appToken: token });
    writeFileSync(file, JSON.stringify(filled));
    say(`${count} stations filled in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
  return counts.flatMap((count) => filled.filter((level) => level.count === count));
}

export function urlOf(adminUrl: string, database: string): string {
  return Object.assign(new URL(adminUrl), { pathname: database }).href;
}

/** The service in production settings on a level. */
export async function openLevel(folder: string, adminUrl: string, filled: Filled, port: number): Promise<Level> {
  const url = urlOf(adminUrl, filled.database);
  const sql = new Client(url);
  await sql.connect();
  const child: ChildProcess = await launch(
    join(__dirname, '../../src/main.js'),
    {
      DATABASE_URL: url,
      PORT: String(port),
      NODE_ENV: 'production',
      SECRET_KEY,
      DATA_DIR: folder,
      ...LIMITS,
    },
    /"message":"listening"/,
  );
  return {
    ...filled,
    url,
    sql,
    port,
    pid: child.pid ?? 0,
    async stop() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      await sql.end();
    },
  };
}

let issued = 0;
/** Codes of ten digits, which never run out, with ids in the order of time as the service makes them. */
export async function codes({ sql }: Pick<Level, 'sql'>, count: number): Promise<string[]> {
  const made = Array.from({ length: count }, () => String(1_000_000_000 + (process.pid % 1000) * 1_000_000 + issued++));
  await sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
     select uuidv7(), hash, 10, gen_random_uuid()::text, substr(md5(random()::text), 1, 24), now() + interval '1 hour'
     from unnest($1::bytea[]) hash`,
    [made.map((code) => hashCode(KEY as Buffer, code))],
  );
  return made;
}

/** How many of these codes have made a whole pairing. */
export async function whole({ sql }: Pick<Level, 'sql'>, made: string[]): Promise<number> {
  const { rows } = await sql.query(
    `select count(*)::int as n
     from pairing_codes c join pairings p on p.code_id = c.id join stations s on s.pairing_id = p.id
     where c.hash = any ($1) and c.length = 10 and c.status = 'used'
       and (select count(*) from evses e where e.pairing_id = p.id) = 2
       and (select count(*) from connectors k where k.pairing_id = p.id) = 3`,
    [made.map((code) => hashCode(KEY as Buffer, code))],
  );
  return rows[0].n;
}
