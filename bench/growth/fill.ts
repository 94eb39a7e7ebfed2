import { createHash } from 'node:crypto';
import { CODE_KEY, type Database } from '../database';

/** The user with more stations than fit on a page; everybody else has about three. */
export const BIG_USER = 'user-with-many-stations';
const BIG_USER_STATIONS = 60;
/** Stations of the "empty" database, so that it has a page to list. */
const FEWEST = 360;
/** Attempts and events are kept for 30 days (ATTEMPTS_KEEP_DAYS, EVENTS_KEEP_DAYS): all of them are spread over fewer. */
const KEPT_DAYS = 29;
const TWO_YEARS_S = 63_072_000;
/** One of so many stations was another user's before. */
const FORMER_EVERY = 10;

const stationsOf = (level: number) => Math.max(level, FEWEST);
const usersOf = (level: number) => Math.floor(stationsOf(level) / 3);

/** Returns the id of the nth user of a level, as `USER_ID` does in SQL. */
export const userId = (n: number) => createHash('md5').update(`user${n}`).digest('hex');
export const randomUser = (level: number) => userId(Math.floor(Math.random() * usersOf(level)));
/** Returns the uid of a station of a level, as the seed does in SQL. */
export const randomUid = (level: number) =>
  createHash('md5')
    .update(`station${1 + Math.floor(Math.random() * stationsOf(level))}`)
    .digest('hex')
    .slice(0, 24);
const USER_ID = (n: string) => `md5('user' || ${n})`;

/**
 * One row for each station: two years of pairings in the order of time, so that ids are in order as the service creates them,
 * and uids, users and hashes are not. Ten million used codes of six digits have each of the million values about ten times.
 */
const seed = (level: number, count = stationsOf(level)) => `
create unlogged table growth_seed as
select n, at, uuidv7(at - now()) as pairing_id, uuidv7(at - interval '2 minutes' - now()) as code_id,
  hmac(lpad(((hashint8(n) & 2147483647) % 1000000)::text, 6, '0')::bytea, '\\x${CODE_KEY.export().toString('hex')}', 'sha256') as hash,
  case when n % ${Math.floor(count / BIG_USER_STATIONS)} = 0 then '${BIG_USER}'
    else ${USER_ID(`n % ${usersOf(level)}`)} end as user_id,
  substr(md5('location' || n % ${usersOf(level)}), 1, 24) as location,
  substr(md5('station' || n), 1, 24) as uid,
  case when n % ${FORMER_EVERY} = 0 then uuidv7(at - interval '30 days' - now()) end as former_id,
  now() - make_interval(days => ${KEPT_DAYS}) * (${count} - n) / ${count} as attempted_at,
  (select array_agg(id) from cpos)[n % (select count(*) from cpos)::int + 1] as cpo_id
from (select n, now() - make_interval(secs => 600 + ${TWO_YEARS_S}.0 * (${count} - n) / ${count}) as at
  from generate_series(1, ${count}) n) s`;

/** Everything that a pairing leaves behind for good, or as long as attempts and events are kept. */
const TABLES = `
insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, created_at, expires_at, ended_at)
select code_id, hash, 6, user_id, location, 'used', at - interval '2 minutes', at + interval '8 minutes', at from growth_seed;
insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id, paired_at)
select pairing_id, code_id, cpo_id, uid, user_id, location, at from growth_seed;
insert into stations (pairing_id, uid, payload_protocol) select pairing_id, uid, 'ocpp2.0.1' from growth_seed;
insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at, ended_at, ended_by)
select former_id, cpo_id, uid, md5('former' || n), location, at - interval '30 days', at - interval '1 day', 'app'
from growth_seed where former_id is not null;
insert into stations (pairing_id, uid, payload_protocol) select former_id, uid, 'ocpp2.0.1' from growth_seed
where former_id is not null;
insert into evses (pairing_id, position, evse_id, capabilities)
select pairing_id, e, e::text, '{CHARGING_PROFILE_CAPABLE}' from growth_seed, generate_series(1, 2) e;
insert into connectors (pairing_id, evse_position, position, connector_id, power_type, max_voltage, max_amperage)
select pairing_id, e, c, c::text, power, 220, 16
from growth_seed, (values (1, 1, 'AC_3_PHASE'), (2, 1, 'AC_3_PHASE'), (2, 2, 'AC_1_PHASE')) k (e, c, power);
insert into events (id, type, occurred_at, code_id, pairing_id, cpo_id, seq, position, published_at)
select pairing_id, 'station.paired', attempted_at, code_id, pairing_id, cpo_id, n, n, attempted_at from growth_seed order by n;
update event_feed set last_position = (select max(n) from growth_seed);
select setval('events_seq', last_position) from event_feed;
insert into attempts (id, cpo_id, attempted_at, request_id, payload_protocol, uid, outcome)
select uuidv7(attempted_at - now()), cpo_id, attempted_at, gen_random_uuid()::text, 'ocpp2.0.1', uid, 'paired'
from growth_seed`;

/** Indexes whose keys come in no order. A server that has run for long has them in memory. */
export const RANDOM_INDEXES = [
  'pairings_active_station_uid_key',
  'pairings_active_user_idx',
  'pairings_ended_by_station_idx',
  'pairing_codes_hash_created_idx',
  'attempts_uid_key_idx',
];

/**
 * Fills a migrated database with so many paired stations. Triggers and foreign keys are not checked meanwhile, and the indexes
 * that are slow to fill are built afterwards.
 */
export async function fill({ sql }: Database, level: number): Promise<void> {
  const { rows: indexes } = await sql.query('select * from pg_indexes where indexname = any ($1)', [RANDOM_INDEXES]);
  for (const { indexname } of indexes) await sql.query(`drop index ${indexname}`);
  await sql.query('create extension pgcrypto');
  await sql.query(seed(level));
  await sql.query(`set session_replication_role = replica; ${TABLES}; set session_replication_role = origin`);
  await sql.query(`set maintenance_work_mem = '1GB'`);
  for (const { indexdef } of indexes) await sql.query(indexdef);
  await sql.query('drop table growth_seed; drop extension pgcrypto');
  await sql.query('vacuum (analyze)');
}
