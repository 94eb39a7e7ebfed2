import { Client } from 'pg';
import { deriveKeys } from '../../src/crypto/keys';
import { SECRET_KEY } from '../world';

/** The user with more stations than fit on a page; the others have up to three. */
export const BIG_USER = 'a user with many stations';
export const BIG_USERS_STATIONS = 60;
/** So many stations are there at the least: an empty database has no page to show. */
export const FEWEST = 360;
/** The attempts are of so many days, as if all stations had come in them; ATTEMPTS_KEEP_DAYS is 30. */
export const ATTEMPT_DAYS = 29;
const CPOS = 20;
const CODES = 1_000_000;
/** Loads, and then makes indexes, of so many tables at once. */
const SESSIONS = 2;

/** Who the nth user is. */
export const USER = (n: string) => `md5('user' || ${n})::uuid::text`;
export const users = (count: number) => Math.floor(count / 3);

/**
 * What stands behind each station: two years of pairings, in the order of time, with ids as the service makes them.
 * Six digits have a million values, so that ten million used codes have each about ten times.
 */
const SEED = (count: number, cpoId: string) => `
create unlogged table growth_seed as
select n, at, uuidv7(at - now()) as pairing_id, uuidv7(at - interval '2 minutes' - now()) as code_id, h.hash,
  case when n % ${Math.floor(count / BIG_USERS_STATIONS)} = 0 then '${BIG_USER}'
    else ${USER(`(n % ${users(count)})`)} end as user_id,
  substr(md5('location' || n % ${users(count)}), 1, 24) as location,
  substr(md5('station' || n), 1, 24) as uid,
  now() - make_interval(secs => (${count} - n) * ${ATTEMPT_DAYS * 86_400}.0 / ${count}) as attempted_at,
  (select array_agg(id order by id <> '${cpoId}') from cpos)[n % ${CPOS} + 1] as cpo_id
from (select n, now() - make_interval(secs => 600 + (${count} - n) * 63072000.0 / ${count}) as at
  from generate_series(1, ${count}) n) s
join growth_codes h on h.value = (hashint8(n) & 2147483647) % ${CODES}
${count < CODES ? 'order by n' : '-- A hash of the codes leaves the order as it is.'}`;

const TABLES: Record<string, string> = {
  connectors: `
    insert into connectors (pairing_id, evse_position, position, connector_id, power_type, max_voltage, max_amperage)
    select pairing_id, e, c, c::text, power, 220, 16
    from growth_seed, (values (1, 1, 'AC_3_PHASE'), (2, 1, 'AC_3_PHASE'), (2, 2, 'AC_1_PHASE')) k (e, c, power)`,
  pairing_codes: `
    insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, created_at, expires_at, ended_at)
    select code_id, hash, 6, user_id, location, 'used', at - interval '2 minutes', at + interval '8 minutes', at
    from growth_seed`,
  pairings: `
    insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id, paired_at)
    select pairing_id, code_id, cpo_id, uid, user_id, location, at from growth_seed`,
  events: `
    insert into events (id, type, occurred_at, code_id, pairing_id, cpo_id)
    select uuidv7(occurred_at - now()), type, occurred_at, code_id, case when paired then pairing_id end,
      case when paired then cpo_id end
    from growth_seed, lateral (values
      (false, 'code.issued', at - interval '2 minutes'), (true, 'station.paired', at)) e (paired, type, occurred_at)`,
  evses: `
    insert into evses (pairing_id, position, evse_id, capabilities)
    select pairing_id, e, e::text, '{CHARGING_PROFILE_CAPABLE}' from growth_seed, generate_series(1, 2) e`,
  attempts: `
    insert into attempts (id, cpo_id, attempted_at, request_id, payload_protocol, uid, outcome)
    select uuidv7(attempted_at - now()), cpo_id, attempted_at, gen_random_uuid()::text, 'ocpp2.0.1', uid, 'paired'
    from growth_seed`,
  stations: `
    insert into stations (pairing_id, uid, payload_protocol) select pairing_id, uid, 'ocpp2.0.1' from growth_seed`,
  idempotency_keys: `
    insert into idempotency_keys (cpo_id, path, key, body_hash, created_at, lease_until, outcome, request_id)
    select cpo_id, '/v1/scsp/ocpp2.0.1/pair', gen_random_uuid()::text, sha256(uid::bytea),
      now() - random() * interval '20 hours', now(), 'paired', gen_random_uuid()::text
    from growth_seed where n % ${ATTEMPT_DAYS} = 0`,
};
/** Rows that a pairing leaves for good, or for as long as attempts are kept. */
export const GROWING = Object.keys(TABLES);

/**
 * Fills a migrated database with so many paired stations and all that the service writes with each.
 * Tables are filled anew in a transaction each, indexes made afterwards: with `wal_level = minimal` none of it is logged.
 */
export async function fill(url: string, cpoId: string, count: number): Promise<void> {
  const sql = new Client(url);
  await sql.connect();
  await sql.query(`
    insert into cpos (id, name) select gen_random_uuid(), 'cpo ' || n from generate_series(1, ${CPOS - 1}) n`);
  const [key] = deriveKeys(SECRET_KEY).pairingCode;
  await sql.query(`create extension pgcrypto`);
  await sql.query(`
    create unlogged table growth_codes as
    select value, hmac(lpad(value::text, 6, '0')::bytea, '\\x${key?.toString('hex')}', 'sha256') as hash
    from generate_series(0, ${CODES - 1}) value`);
  await sql.query('analyze growth_codes');
  await sql.query(`set work_mem = '512MB'; set max_parallel_workers_per_gather = 0`);
  await sql.query(SEED(count, cpoId));
  await sql.query('analyze growth_seed');

  const definitions = await dropKeysAndIndexes(sql);
  const left = [...GROWING];
  const fillSome = async () => {
    const session = new Client(url);
    await session.connect();
    await session.query(
      `set session_replication_role = replica; set maintenance_work_mem = '1GB'; set synchronous_commit = off`,
    );
    for (let table = left.shift(); table !== undefined; table = left.shift()) {
      const again = definitions.filter((one) => one.table === table && !one.foreign).map((one) => one.sql);
      await session.query(`begin; truncate ${table}; ${TABLES[table]}; ${again.join('; ')}; commit`);
    }
    await session.end();
  };
  await Promise.all(Array.from({ length: SESSIONS }, fillSome));
  // Not valid: new rows are checked, and to check ten million old ones takes minutes.
  for (const { sql: text, foreign } of definitions) if (foreign) await sql.query(`${text} not valid`);
  await sql.query('drop table growth_seed, growth_codes; drop extension pgcrypto');
  await sql.query("set maintenance_work_mem = '1GB'");
  await sql.query('vacuum (analyze)');
  await sql.query('checkpoint');
  await sql.end();
}

type Definition = { table: string; foreign: boolean; drop: string; sql: string };

/** Takes them away and returns how to make them again. */
async function dropKeysAndIndexes(sql: Client): Promise<Definition[]> {
  const tables = `array['${[...GROWING, 'outbox'].join("','")}']`;
  const { rows: constraints } = await sql.query<Definition>(`
    select conrelid::regclass::text as "table", contype = 'f' as foreign,
      format('alter table %s drop constraint %I', conrelid::regclass, conname) as drop,
      format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) as sql
    from pg_constraint
    where contype = 'f' and (confrelid::regclass::text = any (${tables}) or conrelid::regclass::text = any (${tables}))
      or contype in ('p', 'u') and conrelid::regclass::text = any (${tables}) and conrelid <> 'outbox'::regclass
    order by contype`);
  const { rows: indexes } = await sql.query<Definition>(`
    select tablename as "table", false as foreign, format('drop index %I', indexname) as drop, indexdef as sql
    from pg_indexes
    where tablename = any (${tables}) and indexname not in (select conname from pg_constraint)`);
  const definitions = [...constraints, ...indexes];
  for (const { drop } of definitions) await sql.query(drop);
  return definitions;
}
