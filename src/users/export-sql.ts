/**
 * The statements of an export. Each reads a page: `$1` is the user, or the keyed hashes of the user, `$2` the key after which it
 * begins. `last` is the key of its last row, null after the last page. Rows are exported with all columns but those named, so that
 * a new column is not forgotten.
 */
const PAGE = 200;
/** The number of rows that are searched where no index leads from a pairing or code to its rows. */
const SEARCHED = 5_000;

/** Builds the statement of a page. `found` must select `key` and `row`, in the order of `key`, at most PAGE rows. */
const page = (found: string) => `
with found as materialized (${found})
select (select key from found order by key desc limit 1) as last,
  array(select jsonb_strip_nulls(row) from found order by key) as found`;

/** Whether anything is stored of a user. The conditions on status and end let the planner use the indexes. */
export const KNOWN = `
select now(), exists (select from pairing_codes where user_id = $1 and status = 'active')
  or exists (select from pairing_codes where user_id = $1 and status in ('expired', 'cancelled'))
  or exists (select from pairings where user_id = $1 and ended_at is null)
  or exists (select from pairings where user_id = $1 and ended_at is not null)
  or exists (select from redemptions where user_id = $1)
  or exists (select from redemption_attempts where user_hash = any ($2)) as known`;

/** Codes that paired are found by their pairings, which have indexes on the user. */
export const CODES = page(`
select c.id as key, to_jsonb(c) - '{hash,length,user_id}'::text[] as row from (
  (select * from pairing_codes where user_id = $1 and status = 'active' and id > $2 order by id limit ${PAGE})
  union all
  (select * from pairing_codes
   where user_id = $1 and status in ('expired', 'cancelled') and id > $2 order by id limit ${PAGE})
  union all
  (select c.* from pairings p join pairing_codes c on c.id = p.code_id
   where p.user_id = $1 and (p.ended_at is null or p.ended_at is not null) and c.id > $2 order by c.id limit ${PAGE})
) c order by c.id limit ${PAGE}`);

const someOfUser = `
select * from pairings
where user_id = $1 and (ended_at is null or ended_at is not null) and id > $2 order by id limit ${PAGE}`;

export const PAIRINGS = page(
  `select p.id as key, to_jsonb(p) - '{user_id,station_uid}'::text[] as row from (${someOfUser}) p order by p.id`,
);

/**
 * The attempts of the CPO of a pairing, `$3`, with its uid, from the issue of its code until it paired: others may be about
 * customers who had the station before or after, or who tried to pair it.
 */
export const ATTEMPTS = page(`
select a.id as key, to_jsonb(a) as row
from pairings p left join pairing_codes c on c.id = p.code_id
join attempts a on lower(a.uid collate "C") = p.station_uid collate "C" and a.id > $2
where p.id = $3 and p.user_id = $1 and a.cpo_id = p.cpo_id
  and a.attempted_at >= greatest(coalesce(c.created_at, p.paired_at), (
    select max(q.ended_at) from pairings q where q.station_uid = p.station_uid and q.ended_at <= p.paired_at))
  and (a.attempted_at <= p.paired_at or a.outcome = 'paired' and a.attempted_at <= coalesce(p.ended_at, now()))
order by a.id limit ${PAGE}`);

export const REDEMPTION_ATTEMPTS = page(`
select id as key, to_jsonb(a) - 'user_hash' as row from redemption_attempts a
where user_hash = any ($1) and id > $2 order by id limit ${PAGE}`);

export const REDEMPTIONS = page(`
select id as key, to_jsonb(r) - 'user_id' as row from redemptions r
where user_id = $1 and id > $2 order by id limit ${PAGE}`);

/** Pages of pairings: most have no notification. */
export const NOTIFICATIONS = `
with page as materialized (${someOfUser})
select (select id from page order by id desc limit 1) as last,
  array(select jsonb_strip_nulls(to_jsonb(o) - '{leased_until,traceparent}'::text[])
    from page p join outbox o on o.pairing_id = p.id order by o.id) as found`;

/**
 * Searches all events: no index leads from a pairing or code to them. Two users share a refused pairing: it is exported for the one
 * whose code was refused, without the pairing of the other. A join may read all codes and pairings, a scalar subquery does not.
 */
export const EVENTS = `
with page as materialized (
  select * from events where id > $2 order by id limit ${SEARCHED}
)
select (select id from page order by id desc limit 1) as last, array(
  select jsonb_strip_nulls(to_jsonb(e) - 'traceparent' - case when e.type = 'pairing.refused' then 'pairing_id' else '' end || jsonb_build_object('webhook_deliveries', (
    select jsonb_agg(jsonb_build_object('endpoint_id', d.endpoint_id, 'app', w.app_name, 'status', d.status))
    from webhook_endpoints w join webhook_deliveries d on d.endpoint_id = w.id and d.position = e.position)))
  from page e
  where (select c.user_id from pairing_codes c where c.id = e.code_id) = $1
    or e.type <> 'pairing.refused' and (select p.user_id from pairings p where p.id = e.pairing_id) = $1
  order by e.id) as found`;

/** Changes by operators, without the names of these. */
export const AUDIT = `
with page as materialized (
  select * from audit where id > $2 order by id limit ${SEARCHED}
)
select (select id from page order by id desc limit 1) as last, array(
  select to_jsonb(a) - 'actor' from page a
  where (select p.user_id from pairings p where p.id = a.subject_id) = $1 order by a.id) as found`;
