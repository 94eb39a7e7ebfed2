import { GUESS_ODDS } from '../codes/code';
import { uuidAt } from '../db/uuid-at';
import { THRESHOLDS } from './thresholds';

/** Counting ends here: a queue that is longer is read no further. */
export const MAX_COUNT = 10_000;

// Each statement reads a small table (CPOs, tokens, webhook endpoints, replicas), or at most MAX_COUNT entries of an index.

/** Without the right to see it (`pg_read_all_stats`), the state of each WAL sender is null. */
export const DATABASE = `
select clock_timestamp() as "readAt", split_part(current_setting('server_version'), ' ', 1) as version,
  not pg_is_in_recovery() as "isPrimary",
  pg_database_size(current_database())::float8 as "sizeBytes",
  (select numbackends from pg_stat_database where datname = current_database()) as connections,
  current_setting('max_connections')::int as "maxConnections",
  current_setting('synchronous_standby_names') as "synchronousStandbyNames",
  s.*,
  case when pg_is_in_recovery()
    then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8
    else s."replayLag" end as "lagSeconds"
from (
  select count(*)::int as "walSenders",
    count(*) filter (where state is null)::int as hidden,
    count(*) filter (where state = 'streaming')::int as standbys,
    count(*) filter (where state = 'streaming' and sync_state in ('sync', 'quorum'))::int as "synchronousStandbys",
    case when bool_or(state = 'streaming') then coalesce(extract(epoch from max(replay_lag)), 0)::float8 end as "replayLag"
  from pg_stat_replication
) s`;

export const REPLICAS = `
select id, version, node_version as "nodeVersion", host, started_at as "startedAt", seen_at as "seenAt",
  extract(epoch from clock_timestamp() - seen_at)::float8 as "notSeenSeconds", state
from replicas where seen_at > now() - interval '1 hour' order by started_at, id limit 1000`;

/** Selects CPOs with an open circuit in a replica that is alive, each once. */
const circuits = (condition: string) => `
select c.id, c.name, min(open.open_since) as "openSince"
from replicas r
  cross join lateral jsonb_to_recordset(r.state -> 'circuits') as open (cpo_id uuid, open_since timestamptz)
  join cpos c on c.id = open.cpo_id
where r.seen_at > now() - interval '${THRESHOLDS.replicaSeenSeconds} seconds' and ${condition}
group by c.id order by "openSince", c.id`;

export const CIRCUITS = circuits('not c.sandbox');
export const ALL_CIRCUITS = circuits('true');

/**
 * The codes of a length that may be active at once are those that scsp_issue_codes_v3 computes: one in GUESS_ODDS of the values that
 * can be issued, which are all but those issued in the last 24 hours.
 */
export const CODES = `
select a.length, c.active,
  c.active / greatest(1, floor((10::float8 ^ a.length - greatest(i.issued - c.active, 0)) / ${GUESS_ODDS})) as "usedRatio"
from active_code_counts a
cross join lateral (
  select count(*)::int as active from (
    select from pairing_codes p where p.length = a.length and p.status = 'active' limit ${MAX_COUNT}) counted
) c
cross join lateral (
  select coalesce(sum(issued), 0)::float8 as issued from issued_code_counts
  where length = a.length and hour >= floor(extract(epoch from now()) / 3600)::int - 24
) i
order by a.length`;

/** CPOs that are answered 429 at present. The function counts as a pairing does. */
export const AT_LIMIT = `
select c.id, c.name, m.left_cpo_10min <= 0 as "at10Min", m.left_cpo_24h <= 0 as "at24H"
from scsp_remaining_v2(array(
    select cpo_id from cpo_tries where last_failed_at > now() - interval '24 hours' limit ${MAX_COUNT}
  ), $1, clock_timestamp(), false) m
join cpos c on c.id = m.cpo_id
where (m.left_cpo_10min <= 0 or m.left_cpo_24h <= 0) and not c.sandbox
order by c.id`;

export const SUSPENDED = `
select id, name from cpos where suspended_at is not null and not sandbox order by id limit ${MAX_COUNT}`;

/** Ids of calls are UUIDv7, created by the clocks of replicas, which may differ. */
export const CALLED = `
select c.id, c.name, n.*
from cpos c cross join lateral (
  select count(*)::int as calls,
    count(*) filter (where outcome in ('timed-out', 'unreachable'))::int as "notAnswered",
    count(*) filter (where outcome in ('invalid-answer', 'redirected')
      or outcome = 'rejected' and (status >= 500 or status in (401, 403)))::int as failed
  from (
    select outcome, status from calls
    where cpo_id = c.id and called_at > now() - interval '5 minutes' and id > ${uuidAt(`now() - interval '6 minutes'`)}
    order by id desc limit 20
  ) latest
) n
where c.base_url is not null and not c.sandbox and n.calls >= ${THRESHOLDS.failedCalls}
order by c.id`;

const age = (time: string) => `coalesce(extract(epoch from clock_timestamp() - ${time}), 0)::float8`;

/** The oldest of MAX_COUNT, if there are more. */
export const OUTBOX = `
select count(*)::int as waiting, ${age('min(created_at)')} as "oldestSeconds",
  (select count(*)::int from (
    select from outbox o join cpos c on c.id = o.cpo_id where o.gave_up_at is not null and not c.sandbox limit ${MAX_COUNT}
  ) g) as "deadLettered"
from (
  select o.created_at from outbox o join cpos c on c.id = o.cpo_id where o.gave_up_at is null and not c.sandbox limit ${MAX_COUNT}
) w`;

export const EVENTS = `
select count(*)::int as waiting, ${age('min(occurred_at)')} as "oldestSeconds"
from (select occurred_at from events where position is null and seq is not null order by seq limit ${MAX_COUNT}) w`;

export const DELIVERIES = `
select w.waiting, ${age('(select published_at from events e where e.position = w.oldest)')} as "oldestSeconds"
from (
  select count(*)::int as waiting, min(position) as oldest
  from (select position from webhook_deliveries where status = 'pending' limit ${MAX_COUNT}) d
) w`;

export const ENDPOINTS = `
select id, app_name as "appName", status, disabled_reason as "disabledReason",
  extract(epoch from clock_timestamp() - failing_since)::float8 as "failingSeconds"
from webhook_endpoints where deleted_at is null order by id limit ${MAX_COUNT}`;

/** A token that was replaced expires as planned. Those of self-service CPOs live for 30 days only. */
export const TOKENS = `
select t.id, t.role, coalesce(c.name, t.app_name) as owner, t.expires_at as "expiresAt",
  extract(epoch from t.expires_at - clock_timestamp())::float8 as "expiresInSeconds"
from tokens t left join cpos c on c.id = t.cpo_id
where t.revoked_at is null and t.expires_at > now() and t.expires_at < now() + interval '30 days'
  and c.sandbox is not true
  and not exists (select from tokens n where n.replaces = t.id and n.revoked_at is null)
order by t.expires_at, t.id limit ${MAX_COUNT}`;

export const ERASURES = `
select count(*)::int as waiting, ${age('min(requested_at)')} as "oldestSeconds"
from (select requested_at from erasures limit ${MAX_COUNT}) w`;
