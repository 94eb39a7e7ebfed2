import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { hashCode } from '../src/codes/code';
import { deriveKeys } from '../src/crypto/keys';
import { migrate } from '../src/db/migrate';
import { schema } from '../src/db/schema';

export const SECRET_KEY = 'the key of a benchmark, which guards nothing at all';
const [KEY] = deriveKeys(SECRET_KEY).pairingCode;

/** The station of the seed document, under a uid of its own. */
export const seedStation = (uid: string) => ({
  uid,
  evses: [
    {
      evse_id: 1,
      capabilities: ['CHARGING_PROFILE_CAPABLE'],
      connectors: [{ id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 }],
    },
    {
      evse_id: 2,
      capabilities: ['CHARGING_PROFILE_CAPABLE'],
      connectors: [
        { id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 },
        { id: '2', power_type: 'AC_1_PHASE', max_voltage: 220, max_amperage: 16 },
      ],
    },
  ],
});

export type World = Awaited<ReturnType<typeof createWorld>>;

/** As many as the widest mix of the benchmark asks for. */
const CPOS = 100;

/** A migrated database with CPOs, an app and their tokens; every contender gets one of its own. */
export async function createWorld(adminUrl: string, name: string) {
  const database = `bench_${name.replaceAll('-', '_')}_${randomBytes(4).toString('hex')}`;
  const admin = new Client(adminUrl);
  await admin.connect();
  await admin.query(`create database ${database}`);
  await admin.end();
  const url = new URL(adminUrl);
  url.pathname = database;
  await migrate(url.href, schema);

  const sql = new Client(url.href);
  await sql.connect();
  // Nothing is analyzed between rounds, which would have every contender plan anew: what is checked is hashed.
  await sql.query('set enable_nestloop = off');
  const cpoIds = Array.from({ length: CPOS }, () => randomUUID());
  const tokens = cpoIds.map(() => `scsp_cpo_${randomBytes(32).toString('base64url')}`);
  await sql.query('insert into cpos (id, name) select id, id::text from unnest($1::uuid[]) id', [cpoIds]);
  await sql.query(
    `insert into tokens (id, role, cpo_id, hash, expires_at)
     select gen_random_uuid(), 'cpo', id, hash, now() + interval '1 day' from unnest($1::uuid[], $2::bytea[]) t (id, hash)`,
    [cpoIds, tokens.map((token) => createHash('sha256').update(token).digest())],
  );
  let issued = 0;
  return {
    url: url.href,
    cpoId: cpoIds[0] ?? '',
    tokens,
    appToken: await appToken(sql),
    sql,
    /** Codes that are good for an hour; ten digits, so that they never run out. */
    async codes(count: number): Promise<string[]> {
      const codes = Array.from({ length: count }, () => String(1_000_000_000 + issued++));
      await sql.query(
        `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
         select gen_random_uuid(), hash, 10, gen_random_uuid()::text, 'home', now() + interval '1 hour' from unnest($1::bytea[]) hash`,
        [codes.map((code) => hashCode(KEY as Buffer, code))],
      );
      // They are longer than any that is issued here: none is near one of them.
      await sql.query('delete from code_neighbours_missing');
      return codes;
    },
    /** How many pairings are there whole: station, two EVSEs, three connectors, code used up. */
    async whole(): Promise<number> {
      const { rows } = await sql.query(`
        with evse as (select pairing_id, count(*) as evses from evses group by pairing_id),
          connector as (select pairing_id, count(*) as connectors from connectors group by pairing_id)
        select count(*)::int as n from pairings p join pairing_codes c on c.id = p.code_id and c.status = 'used'
        join stations s on s.pairing_id = p.id
        join evse e on e.pairing_id = p.id and e.evses = 2
        join connector k on k.pairing_id = p.id and k.connectors = 3`);
      return rows[0].n;
    },
  };
}

/** A token for the app that is good for a day. */
export async function appToken(sql: Client, appName = 'bench'): Promise<string> {
  const token = `scsp_app_${randomBytes(32).toString('base64url')}`;
  await sql.query(
    `insert into tokens (id, role, app_name, hash, expires_at) values ($1, 'app', $3, $2, now() + interval '1 day')`,
    [randomUUID(), createHash('sha256').update(token).digest(), appName],
  );
  return token;
}
