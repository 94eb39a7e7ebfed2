-- Leases due deliveries to webhook endpoints (contract, section 9): the oldest of each endpoint, up to its number of concurrent
-- calls. Endpoints with fewer calls in flight come first.
--
--   step       | locks, until the commit   | rows
--   -----------+---------------------------+--------------------------------------------------------------------------------
--   1 lock     | advisory, webhookClaim    |
--   2 target   |                           | each endpoint with pending rows, one step in webhook_deliveries_due_idx for each
--     endpoint |                           | those that are enabled, with their leases
--     due      | deliveries (skip locked)  | per endpoint: rows from the start of its range
--     claimed  |                           | updates the rows, by their keys
--
-- Must run under READ COMMITTED: step 2 has a snapshot of its own, and sees the leases of the replica that held the lock before.
-- A function, because its plan is kept: planning takes several times as long as execution.
create function public.scsp_claim_deliveries_v1(
  largest integer,
  -- Endpoints whose circuit is open.
  excluded uuid[],
  calls_per_endpoint integer,
  -- An endpoint with so many failures since its last success gets one call at a time.
  failures_to_slow_down integer,
  lease_seconds integer
)
returns table (endpoint_id uuid, url text, "position" bigint, attempts integer, leased_until timestamptz, event_id uuid, traceparent text)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
  -- 1. One replica at a time.
  perform pg_advisory_xact_lock(7305008);

  -- 2. Lease.
  return query
  with recursive target as (
    (select d.endpoint_id from public.webhook_deliveries d where d.status = 'pending' order by d.endpoint_id limit 1)
    union all
    select (select d.endpoint_id from public.webhook_deliveries d
      where d.status = 'pending' and d.endpoint_id > t.endpoint_id order by d.endpoint_id limit 1)
    from target t where t.endpoint_id is not null
  ), endpoint as (
    select w.id, w.url, l.leased,
      greatest(case when w.failures >= failures_to_slow_down then 1 else calls_per_endpoint end - l.leased, 0) as free
    from target t
    join public.webhook_endpoints w on w.id = t.endpoint_id
    cross join lateral (
      select count(*)::int as leased from public.webhook_deliveries d where d.endpoint_id = w.id and d.leased_until > now()
    ) l
    where w.status = 'enabled' and w.deleted_at is null and w.id <> all (excluded)
  ), due as (
    select e.id, e.url, d.position
    from endpoint e
    cross join lateral (
      select first.position, first.next_attempt_at, row_number() over (order by first.next_attempt_at) as nth
      from (
        select o.position, o.next_attempt_at from public.webhook_deliveries o
        where o.endpoint_id = e.id and o.status = 'pending' and o.next_attempt_at <= now()
        order by o.next_attempt_at limit e.free
        for update skip locked
      ) first
    ) d
    order by e.leased + d.nth, d.next_attempt_at
    limit largest
  ), claimed as (
    update public.webhook_deliveries d
    set attempts = d.attempts + 1, next_attempt_at = now() + lease.time, leased_until = now() + lease.time
    from due, (select make_interval(secs => lease_seconds) as time) lease
    where d.endpoint_id = due.id and d.position = due.position
    returning d.endpoint_id, due.url, d.position, d.attempts, d.leased_until
  )
  select c.endpoint_id, c.url, c.position, c.attempts, c.leased_until, e.id, e.traceparent
  from claimed c join public.events e on e.position = c.position;
end $$;
