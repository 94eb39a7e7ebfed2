-- Expires codes that are due, and deletes neighbour keys and counters that are no longer needed.
--
-- | step                  | lock                                            | rows                                    |
-- |-----------------------|-------------------------------------------------|-----------------------------------------|
-- | take the lock         | advisory lock 7305011 until commit              |                                         |
-- | expire codes          | codes that are due; locked ones are skipped     | updates pairing_codes, inserts events   |
-- | delete neighbour keys |                                                 | deletes from code_neighbours            |
-- | delete counters       |                                                 | deletes counts outside their windows    |
--
-- Runs in one replica at a time; returns no row if another one holds the lock. A locked code is left for the next call. It
-- cannot be used meanwhile, because pairing and cancelling compare its expiry with the clock. Neighbour keys of used and cancelled
-- codes are kept until the codes would have expired; they are only read for active codes.
--
-- Returns the codes that have expired, at most `largest`, and whether more rows may be due.
create function public.scsp_expire_codes_v3(largest int) returns table (ids uuid[], more boolean)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  expired uuid[];
  deleted_keys int;
  deleted_issues int;
begin
  -- Take the lock.
  if not pg_try_advisory_xact_lock(7305011) then
    return;
  end if;

  -- Expire codes.
  with due as materialized (
    select c.id from public.pairing_codes c
    where c.status = 'active' and c.ended_at is null and c.expires_at <= now()
    order by c.expires_at limit largest for update skip locked
  ), ended as (
    update public.pairing_codes c set status = 'expired', ended_at = c.expires_at
    where c.id = any (array(select d.id from due d))
    returning c.id, pg_notify('scsp_codes', c.id::text)
  ), event as (
    insert into public.events (id, type, code_id) select gen_random_uuid(), 'pairing_code.expired', e.id from ended e
  )
  select coalesce(array_agg(e.id), '{}') into expired from ended e;

  -- Delete neighbour keys. A code has one more than it has digits.
  delete from public.code_neighbours where ctid = any (array(
    select n.ctid from public.code_neighbours n where n.expires_at <= now() order by n.expires_at limit largest * 10));
  get diagnostics deleted_keys = row_count;

  -- Delete counters.
  delete from public.user_code_issues where ctid = any (array(
    select u.ctid from public.user_code_issues u
    -- `-infinity`: the condition of the index, which no other statement implies.
    where u.issued_at > '-infinity' and u.issued_at <= now() - interval '10 minutes' order by u.issued_at limit largest));
  get diagnostics deleted_issues = row_count;
  delete from public.issued_code_counts i where i.hour < floor(extract(epoch from now()) / 3600)::int - 24;
  delete from public.code_neighbours_missing m where m.until <= now();

  return query select expired, cardinality(expired) >= largest or deleted_keys >= largest * 10 or deleted_issues >= largest;
end $$;
