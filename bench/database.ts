import { createHash, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { hashCode } from '../src/codes/code';
import { deriveKeys } from '../src/crypto/keys';
import { migrate } from '../src/db/migrate';
import { schema } from '../src/db/schema';
import type { Postgres } from './postgres';

export const SECRET_KEY = 'the key of a benchmark, which guards nothing at all';
export const CODE_KEY = deriveKeys(SECRET_KEY).pairingCode[0] as KeyObject;

/** As many as the widest mix has. */
const CPOS = 100;
/** Codes for pairings have more digits than any that the service issues here, so there are always enough. */
const CODE_DIGITS = 10;

/** A migrated database of one target, and the tokens of its CPOs and its app. */
export type Database = {
  readonly url: string;
  readonly sql: Client;
  readonly postmaster: number;
  readonly cpos: readonly { readonly id: string; readonly token: string }[];
  readonly appToken: string;
  readonly sandbox: boolean;
};

/** @param sandbox whether its service is a sandbox, which may call webhook endpoints on this machine */
export async function createDatabase(
  { url: adminUrl, postmaster }: Postgres,
  name: string,
  { sandbox = false } = {},
): Promise<Database> {
  const admin = new Client(adminUrl);
  await admin.connect();
  await admin.query(`create database bench_${name}`);
  await admin.end();
  const { href: url } = Object.assign(new URL(adminUrl), { pathname: `bench_${name}` });
  await migrate(url, schema, { sandbox });
  const sql = new Client(url);
  // PostgreSQL ends it when the benchmark fails or is interrupted.
  sql.on('error', () => undefined);
  await sql.connect();

  const cpos = Array.from({ length: CPOS }, () => ({ id: randomUUID(), token: randomToken('cpo') }));
  const appToken = randomToken('app');
  await sql.query('insert into cpos (id, name) select id, id::text from unnest($1::uuid[]) id', [
    cpos.map(({ id }) => id),
  ]);
  await sql.query(
    `insert into tokens (id, role, cpo_id, app_name, hash, expires_at)
     select gen_random_uuid(), case when cpo_id is null then 'app' else 'cpo' end, cpo_id,
       case when cpo_id is null then 'bench' end, hash, now() + interval '1 day'
     from unnest($1::uuid[], $2::bytea[]) t (cpo_id, hash)`,
    [[...cpos.map(({ id }) => id), null], [...cpos.map(({ token }) => token), appToken].map(sha256)],
  );
  return { url, sql, postmaster, cpos, appToken, sandbox };
}

const randomToken = (role: string) => `scsp_${role}_${randomBytes(32).toString('base64url')}`;
const sha256 = (text: string) => createHash('sha256').update(text).digest();

let lastCode = 10 ** (CODE_DIGITS - 1);

/** Stores codes that are active for an hour. */
export async function createCodes({ sql }: Database, count: number): Promise<string[]> {
  const codes = Array.from({ length: count }, () => String(++lastCode));
  await sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
     select uuidv7(), hash, $2, gen_random_uuid()::text, 'home', now() + interval '1 hour' from unnest($1::bytea[]) hash`,
    [codes.map((code) => hashCode(CODE_KEY, code)), CODE_DIGITS],
  );
  // A trigger takes them for codes of a previous version, with which every code issued would have to be compared.
  await sql.query('delete from code_neighbours_missing');
  return codes;
}

/** Checks that each code has paired a station that is stored in full: two EVSEs, three connectors. */
export async function verifyPairings({ sql }: Database, codes: readonly string[]): Promise<void> {
  const { rows } = await sql.query(
    `select count(*)::int as complete
     from pairing_codes c join pairings p on p.code_id = c.id join stations s on s.pairing_id = p.id
     where c.hash = any ($1) and c.length = $2 and c.status = 'used'
       and (select count(*) from evses e where e.pairing_id = p.id) = 2
       and (select count(*) from connectors k where k.pairing_id = p.id) = 3`,
    [codes.map((code) => hashCode(CODE_KEY, code)), CODE_DIGITS],
  );
  if (rows[0].complete !== codes.length)
    throw new Error(`Of ${codes.length} pairings ${rows[0].complete} are stored in full.`);
}

/** Ends the effects of a measurement on the next: counted incorrect codes, and issued codes that make others longer. */
export async function resetState({ sql }: Database): Promise<void> {
  await sql.query('delete from failed_attempts');
  await sql.query('update cpo_tries set last_failed_at = null');
  await sql.query(
    `update pairing_codes set status = 'used', ended_at = now() where status = 'active' and length < $1`,
    [CODE_DIGITS],
  );
}
