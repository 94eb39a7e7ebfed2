import { CODES_CHANNEL } from '../codes/codes';
import type { Config } from '../config';
import { COUNT, gate } from './limits';
import { STORE } from './store';

/** A request as the statement reads it. */
export type PairRow = {
  n: number;
  pairing_id: string;
  event_id: string;
  attempt_id: string;
  request_id: string;
  code_length: number;
  /** Under each known key, as PostgreSQL writes bytes. */
  code_hashes: string[];
  payload_protocol: string;
  uid: string;
  station_uid: string;
  evses: unknown;
  idempotency_path: string | undefined;
  idempotency_key: string | undefined;
};

export type PairOutcome = 'paired' | 'again' | 'station-already-paired' | 'incorrect-code' | 'too-many-incorrect-codes';

/**
 * A set of pairing requests of one CPO, each answered with its outcome: steps 5 to 8 of the contract's section 3.
 * `$1` the requests as JSON, `$2` the CPO.
 *
 * `live` locks the codes that may be used and skips those that another statement is using or cancelling right now.
 * The insert into pairings decides: its unique keys allow a code once and a uid once, and what loses is not inserted.
 * A request that lost a race, or whose turn depends on others of its set, is told `again`: this statement's snapshot
 * cannot see who won, the next one's can. Rows are inserted in the same order everywhere, so that two sets never wait
 * for each other in a circle.
 */
export function pairStatement(config: Config): string {
  // "is true" keeps the planner from any index but that of the code, whatever it believes of an empty table.
  const active = `c.length = r.code_length and c.hash = h.hash and c.status = 'active'
    and (c.expires_at > now()) is true and (c.cpo_id is null or c.cpo_id = $2)`;
  const before = 'rows between unbounded preceding and 1 preceding';
  return `
with request as materialized (
  select * from jsonb_to_recordset($1::jsonb) as r (
    n int, pairing_id uuid, event_id uuid, attempt_id uuid, request_id text, code_length smallint, code_hashes bytea[],
    payload_protocol text, uid text, station_uid text, evses jsonb, idempotency_path text, idempotency_key text)
), ${gate(config)}, live as (
  select r.n, c.*
  from request r cross join unnest(r.code_hashes) as h (hash) cross join lateral (
    select c.id, c.user_id, c.charging_location_id from pairing_codes c where ${active} for update skip locked
  ) c
), judged as materialized (
  select r.n, r.station_uid, l.id as code_id, l.user_id, l.charging_location_id,
    ${config.limits.cpoUid10Min} - (
      select count(*)::int from gate g, unnest(g.wrong_at, g.wrong_uid) w (at, uid)
      where w.at > now() - interval '10 minutes' and w.uid = r.station_uid) as left_uid,
    case
      when l.id is not null then 'right'
      when exists (select from unnest(r.code_hashes) as h (hash), pairing_codes c where ${active}) then 'again'
      when exists (
        select from pairings q join pairing_codes c on c.id = q.code_id
        where q.station_uid = r.station_uid and q.ended_at is null and q.cpo_id = $2 and c.hash = any(r.code_hashes))
        then 'station-already-paired'
      else 'incorrect-code' end as verdict
  from request r left join live l using (n)
), ranked as (
  select j.*,
    count(*) filter (where verdict = 'incorrect-code') over (order by n ${before}) as wrong_before,
    count(*) filter (where verdict = 'incorrect-code') over (partition by station_uid order by n ${before}) as wrong_uid_before
  from judged j
), admitted as materialized (
  select k.*, case
    when least(room.left_10min, room.left_24h, left_uid) <= 0 then 'too-many-incorrect-codes'
    when wrong_before >= least(room.left_10min, room.left_24h) or wrong_uid_before >= left_uid then 'again'
    else verdict end as step
  from ranked k, room
), paired as (
  insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id)
  select r.pairing_id, a.code_id, $2, a.station_uid, a.user_id, a.charging_location_id
  from admitted a join request r using (n)
  where a.step = 'right'
  order by a.station_uid, n
  on conflict do nothing
  returning id, code_id, cpo_id
), used as (
  update pairing_codes c set status = 'used', ended_at = now() from paired p where c.id = p.code_id
  returning pg_notify('${CODES_CHANNEL}', c.id::text)
), ${STORE}, outcome as materialized (
  select r.n, r.station_uid, r.attempt_id, r.request_id, r.payload_protocol, r.uid, r.idempotency_path, r.idempotency_key,
    a.code_id, a.left_uid, case
      when p.id is not null then 'paired'
      when a.step <> 'right' then a.step
      -- Not "exists", for which the planner may read and hash all pairings there are.
      when (select q.id from pairings q where q.station_uid = r.station_uid and q.ended_at is null) is not null
        then 'station-already-paired'
      else 'again' end as outcome
  from request r join admitted a using (n) left join paired p on p.id = r.pairing_id
), ${COUNT}, attempt as (
  insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
  select attempt_id, $2, request_id, payload_protocol, uid, outcome from outcome where outcome <> 'again'
), kept as (
  update idempotency_keys i set outcome = o.outcome from outcome o
  where o.idempotency_key is not null
    and i.cpo_id = $2 and i.path = o.idempotency_path and i.key = o.idempotency_key
    and o.outcome in ('paired', 'incorrect-code', 'station-already-paired')
)
select o.n, o.outcome, o.code_id as "codeId", room.limit_10min as "limit10Min", room.left_10min as "left10Min",
  room.limit_24h as "limit24H", room.left_24h as "left24H", o.left_uid as "leftUid",
  case when o.outcome = 'too-many-incorrect-codes' then ${RETRY_AFTER} end as "retryAfter"
from outcome o, room`;
}

const leaves = `ceil(extract(epoch from w.at + interval '10 minutes' - now()))::int`;
/** When the try that fills a ten-minute limit leaves the window, by what is left (0 or less) of it. */
const freeAgain = (filter: string, left: string) => `(
    select ${leaves} from gate g, unnest(g.wrong_at, g.wrong_uid) w (at, uid)
    where w.at > now() - interval '10 minutes' and ${filter} order by w.at offset -${left} limit 1)`;

/** Seconds until every limit that is reached has let one try go. */
const RETRY_AFTER = `greatest(1,
    case when o.left_uid <= 0 then ${freeAgain('w.uid = o.station_uid', 'o.left_uid')} end,
    case when room.left_10min <= 0 then ${freeAgain('true', 'room.left_10min')} end,
    case when room.left_24h <= 0 then (
      select ((49 - age) * 1800 - extract(epoch from now())::bigint % 1800)::int
      from (
        select b.i - 1 + (floor(extract(epoch from now()) / 1800)::bigint - g.half_hour) as age,
          sum(b.wrong) over (order by b.i desc) as gone
        from gate g, unnest(g.wrong_by_half_hour) with ordinality as b (wrong, i)
      ) bucket
      where age < 49 and gone > -room.left_24h order by age desc limit 1) end)`;
