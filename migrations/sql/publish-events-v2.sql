-- Publishes committed events: gives them positions in the feed, in the order of their changes, and queues their deliveries to
-- webhook endpoints (contract, section 9).
--
--   step                    | locks, until the commit    | rows
--   ------------------------+----------------------------+------------------------------------------------------
--   1 lock the feed         | event_feed (skip locked)   |
--   2 check the database    |                            | may insert the event feed.restarted
--   3 publish               |                            | updates events, inserts webhook_deliveries
--   4 move the end          |                            | updates event_feed
--
-- Must run under READ COMMITTED: each statement has a snapshot of its own, so step 3 sees every event that was committed before
-- the lock was taken. Returns no row if another replica is publishing.
--
-- Positions become visible in their order: only the holder of the lock assigns them, and readers see them and the new end of the
-- feed with the same commit. `seq` is drawn after a change is won, and a later change of the same station can be won only after
-- the commit of the earlier one. So for one station the order of `seq` is that of its changes.
create function public.scsp_publish_events_v2(largest integer)
returns table (published integer, more boolean, restarted boolean)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  feed public.event_feed;
  identity text;
  last bigint;
  found_events integer;
  queued integer;
begin
  restarted := false;

  -- 1. Lock the feed.
  select * into feed from public.event_feed for update skip locked;
  if not found then
    return;
  end if;
  -- The table knows better after a load of the data alone.
  last := greatest(feed.last_position, (select max(e.position) from public.events e where e.position is not null));

  -- 2. Check the database: its cluster, its timeline, its oid, and the oid of event_feed, which pg_restore --clean creates anew.
  -- After a restore or a fail-over, positions that were given may have been lost: go on 10^9 above them, and tell the followers
  -- first. The same backup may be restored again: positions are at least 10^9 for each minute since 2026, so that they are given
  -- once all the same. No event has a lower seq than 0.
  identity := (select s.system_identifier from pg_control_system() s) || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || ' ' || (select d.oid from pg_database d where d.datname = current_database())
    || ' ' || (select f.tableoid from public.event_feed f);
  if feed.database_identity is distinct from identity and (feed.database_identity is not null or last > 0) then
    restarted := true;
    last := greatest(last, floor(extract(epoch from clock_timestamp() - timestamptz '2026-01-01Z') / 60)::bigint * 1000000000)
      + 1000000000 - 1;
    insert into public.events (id, type, seq) values (gen_random_uuid(), 'feed.restarted', 0);
  end if;

  -- 3. Publish. Replicas of 0.2.0 write other names, and events that are not published. Nor are those of pairings with the test
  -- customers of a sandbox deployment, which have a uid but no user; a forgotten user's pairing has neither. An app's own code that
  -- met the station of such a pairing (pairing.refused) concerns the app.
  with unpublished as materialized (
    select e.id, e.seq, e.type in ('code.issued', 'cpo.not-told') or e.type <> 'pairing.refused' and coalesce((
      select p.user_id is null and p.station_uid is not null from public.pairings p where p.id = e.pairing_id), false) as omitted
    from public.events e where e.position is null and e.seq is not null order by e.seq limit largest
  ), left_out as (
    delete from public.events e using unpublished u where e.id = u.id and u.omitted
  ), numbered as (
    select u.id, row_number() over (order by u.seq) as n from unpublished u where not u.omitted
  ), event as (
    update public.events e
    set position = last + n.n, published_at = clock_timestamp(),
      type = case e.type
        when 'code.cancelled' then 'pairing_code.cancelled'
        when 'code.expired' then 'pairing_code.expired'
        when 'cpo.told' then 'cpo.notified'
        else e.type end
    from numbered n where e.id = n.id
    returning e.position, e.type, e.app_name
  ), delivery as (
    insert into public.webhook_deliveries (endpoint_id, position)
    select w.id, e.position
    from event e join public.webhook_endpoints w on w.status = 'enabled' and w.deleted_at is null
      and (w.types is null or e.type = any (w.types)) and (e.app_name is null or e.app_name = w.app_name)
    returning 1
  )
  select (select count(*) from unpublished), (select count(*) from event), (select count(*) from delivery)
  into found_events, published, queued;

  -- 4. Move the end of the feed, and wake those who follow it.
  if published > 0 or feed.database_identity is distinct from identity then
    update public.event_feed f set last_position = last + published, database_identity = identity;
    perform pg_notify('scsp_events', '');
  end if;
  if queued > 0 then
    perform pg_notify('scsp_webhooks', '');
  end if;
  more := found_events >= largest;
  return next;
end $$;
