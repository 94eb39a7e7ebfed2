-- Ends codes whose time is over, and deletes what was stored while they were active and for the limit of their user.
--
-- | step                  | lock                                            | rows                                    |
-- |-----------------------|-------------------------------------------------|-----------------------------------------|
-- | take the turn         | advisory lock 7305011 until commit, or none     |                                         |
-- | expire codes          | the codes that are due, others skip locked      | updates pairing_codes, inserts events   |
-- | free neighbour keys   |                                                 | deletes from code_neighbours            |
-- | forget counts         |                                                 | deletes what no longer counts           |
--
-- One replica at a time; another one's call returns no row. A code that somebody holds is left to the next call: whoever
-- uses or cancels codes compares their expiry with the clock, so that it is not used meanwhile. Keys of codes that were
-- used or cancelled stay until these would have expired, and whoever reads them asks for active codes only.
--
-- Returns the codes that have expired, at most `largest`, and whether there may be more to do.
create function public.scsp_expire_codes_v1(largest int) returns table (ids uuid[], more boolean)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  expired uuid[];
  freed int;
  forgotten int;
begin
  -- Take the turn.
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
    insert into public.events (id, type, code_id) select gen_random_uuid(), 'code.expired', e.id from ended e
  )
  select coalesce(array_agg(e.id), '{}') into expired from ended e;

  -- Free neighbour keys. A code has one for each digit and one more.
  delete from public.code_neighbours where ctid = any (array(
    select n.ctid from public.code_neighbours n where n.expires_at <= now() order by n.expires_at limit largest * 10));
  get diagnostics freed = row_count;

  -- Forget counts.
  delete from public.user_code_issues where ctid = any (array(
    select u.ctid from public.user_code_issues u
    where u.issued_at <= now() - interval '10 minutes' order by u.issued_at limit largest));
  get diagnostics forgotten = row_count;
  delete from public.issued_code_counts i where i.hour < floor(extract(epoch from now()) / 3600)::int - 24;
  delete from public.code_neighbours_missing m where m.until <= now();

  return query select expired, cardinality(expired) >= largest or freed >= largest * 10 or forgotten >= largest;
end $$;
