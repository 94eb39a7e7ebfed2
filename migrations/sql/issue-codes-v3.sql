-- Issues a batch of pairing codes (contract, section 4) in one round trip and one commit.
--
-- | step                 | lock                                  | rows                                                |
-- |----------------------|---------------------------------------|-----------------------------------------------------|
-- | take the lock        | advisory lock 7305002 until commit    |                                                     |
-- | limit each user      |                                       | reads cpos, user_code_issues                        |
-- | choose lengths       |                                       | reads both counts; may recount active_code_counts   |
-- | choose values        |                                       | reads pairing_codes, code_neighbours                |
-- | replace old codes    | old codes; locked ones are skipped    | updates pairing_codes                               |
-- | issue                |                                       | inserts pairing_codes; a trigger counts them        |
-- | record               |                                       | inserts code_neighbours, user_code_issues, events   |
--
-- Every transaction that issues codes, of this version or of 0.1, holds the advisory lock until its commit. Under READ COMMITTED
-- each statement below has a snapshot of its own, taken after the lock, so it sees every code issued before. Pairing, cancelling
-- and expiry do not take the lock: they only end codes, so a count may be too high and a valid value may be rejected, never the
-- reverse. No statement waits for a row while the lock is held.
--
-- requests:   [{n, id, user_id, charging_location_id, cpo_id, user_hashes, replaced_event, traceparent}], n from 0 in order
--             user_hashes: the keyed hash of the user under each known key, the current key first
-- candidates: [{i, n, length, hashes, keys, former_keys, twin_hashes, twin_lengths}], i from 0 in order: values for request n
--             hashes: the keyed hash of the value under each known key, the current key first
--             keys, former_keys: its neighbour keys under the current key and under the previous ones
--             twin_hashes, twin_lengths: hashes and lengths of all values within one edit; required while codes without
--             neighbour keys are active
--
-- Returns one row per request. Outcomes:
--   issued           candidate i; replaced_id and replaced_status describe the previous code, if any
--   unknown-cpo
--   too-many-codes   the user's limit is reached; retry after retry_after seconds
--   retry            send again with values of `length`, and with twin_hashes and twin_lengths if twins_needed
--   space-used-up    no length up to longest_length has values left
create function public.scsp_issue_codes_v3(
  requests jsonb, candidates jsonb,
  shortest_length int, longest_length int, odds int, ttl_seconds int, user_limit int
) returns table (
  n int, outcome text, i int, length int, retry_after int, twins_needed boolean,
  created_at timestamptz, expires_at timestamptz, replaced_id uuid, replaced_status text
)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan  -- planning each statement in each call would cost more than executing it
set enable_seqscan = off                  -- a generic plan may be created while the tables are still small
set jit = off
as $$
#variable_conflict use_column
declare
  unknown_cpo int[];   -- requests
  over_limit int[];    -- requests
  turns int[];         -- requests that get a code if a value is found
  lengths int[];       -- one for each of the first of `turns`, as many as the space allows
  missing boolean;     -- whether codes without neighbour keys may be active
  chosen int[];        -- candidates
  replaced jsonb;      -- old codes: [{n, id, status}]
  busy int[];          -- requests whose old code is locked by another transaction
  issued_now int[];    -- candidates
  waiting int;
  digits int;
  active bigint;
  counted bigint;
  issued bigint;
  counted_at timestamptz;
  free bigint;
begin
  -- Take the lock.
  perform pg_advisory_xact_lock(7305002);
  if current_setting('transaction_isolation') <> 'read committed' then
    -- The snapshot was taken before the lock. If codes have been issued since, this row (length 0) has changed: the update fails
    -- with SQLSTATE 40001 and the caller retries.
    insert into public.active_code_counts as c (length, active) values (0, 0)
    on conflict on constraint active_code_counts_pkey do update set active = c.active;
  end if;

  -- Limit each user. Of several requests for the same user and location only the first is processed. A request that exceeds the
  -- limit only because of others in this batch is retried.
  select array_agg(r.n) filter (where r.cpo_unknown),
    array_agg(r.n) filter (where not r.cpo_unknown and r.recent >= user_limit),
    array_agg(r.n order by r.n) filter (
      where not r.cpo_unknown and r.recent + r.nth_of_user <= user_limit and r.nth_of_location = 1)
  into unknown_cpo, over_limit, turns
  from (
    select q.n,
      q.cpo_id is not null and (select c.id from public.cpos c where c.id = q.cpo_id) is null as cpo_unknown,
      (select count(*) from public.user_code_issues i
        where i.user_hash = any(q.user_hashes) and i.issued_at > now() - interval '10 minutes') as recent,
      row_number() over (partition by q.user_hashes[1] order by q.n) as nth_of_user,
      row_number() over (partition by q.user_id, q.charging_location_id order by q.n) as nth_of_location
    from jsonb_to_recordset(requests) as q (
      n int, user_id text, charging_location_id text, cpo_id uuid, user_hashes bytea[])
  ) r;

  -- Choose lengths: the shortest at which at most one in `odds` of the values that can be issued would be active. Values issued
  -- in the last 24 hours (in whole hours, so up to 25) cannot be issued again. `active` is an upper bound. It is recounted if
  -- that may free values, at most once per 20 µs times the number of codes, which keeps the cost of counting low.
  digits := shortest_length;
  lengths := '{}';
  waiting := coalesce(cardinality(turns), 0);
  while waiting > 0 and digits <= longest_length loop
    select coalesce(max(a.active), 0), coalesce(max(a.counted_at), '-infinity'), coalesce((
        select sum(i.issued) from public.issued_code_counts i
        where i.length = digits and i.hour >= floor(extract(epoch from now()) / 3600)::int - 24), 0)
    into active, counted_at, issued
    from public.active_code_counts a where a.length = digits;
    free := ((10::numeric ^ digits)::bigint - greatest(issued - active, 0)) / odds - active;
    if free < waiting and active > 0
      and clock_timestamp() not between counted_at and counted_at + active * interval '20 microseconds' then
      select count(*) into counted
      from public.pairing_codes c where c.length = digits and c.status = 'active' and c.expires_at > now();
      update public.active_code_counts a set active = counted, counted_at = clock_timestamp()
      where a.length = digits;
      free := ((10::numeric ^ digits)::bigint - greatest(issued - counted, 0)) / odds - counted;
    end if;
    free := least(greatest(free, 0), waiting);
    lengths := lengths || array_fill(digits, array[free::int]);
    waiting := waiting - free;
    digits := digits + 1;
  end loop;

  -- Choose values: for each request the first candidate of its length that was not issued in the last 24 hours and shares no
  -- neighbour key with an active code or with the value chosen for an earlier request.
  missing := exists (select from public.code_neighbours_missing m where m.until > now());
  with offered as materialized (
    select distinct on (c.n) c.n, c.i, c.keys
    from unnest(turns[:cardinality(lengths)], lengths) as t (n, length)
      join jsonb_to_recordset(candidates) as c (
        i int, n int, length int, hashes bytea[], keys bigint[], former_keys bigint[],
        twin_hashes bytea[], twin_lengths smallint[]) on c.n = t.n and c.length = t.length
    -- Scalar subqueries, because the planner may turn "not exists" into an anti-join that reads a whole index.
    where (
        select p.id from public.pairing_codes p
        where p.hash = any(c.hashes) and p.created_at > now() - interval '24 hours' limit 1) is null
      and (
        select b.code_id from public.code_neighbours b
        where b.key = any(c.keys || c.former_keys) and (
          select p.status = 'active' and p.expires_at > now() from public.pairing_codes p where p.id = b.code_id)
        limit 1) is null
      and (not missing or c.twin_hashes is not null and (
        select twin.hash from unnest(c.twin_hashes, c.twin_lengths) as twin (hash, length)
        where (
          select p.expires_at > now() from public.pairing_codes p
          where p.length = twin.length and p.hash = twin.hash and p.status = 'active')
        limit 1) is null)
    order by c.n, c.i
  ), sharing as (
    select o.n, min(o.n) over (partition by key) as earliest from offered o cross join unnest(o.keys) as key
  )
  select array_agg(o.i) into chosen
  from offered o where o.n <> all (array(select s.n from sharing s where s.earliest < s.n));

  -- Replace old codes. A locked code is being used, cancelled or erased: it is skipped, and its request is retried.
  with old as materialized (
    select q.n, p.id
    from unnest(chosen) as chosen (i)
      cross join jsonb_to_record(requests -> (candidates -> i ->> 'n')::int) as q (
        n int, user_id text, charging_location_id text)
      cross join lateral (
        select p.id from public.pairing_codes p
        where p.user_id = q.user_id and p.charging_location_id = q.charging_location_id and p.status = 'active'
        limit 1) p
  ), held as materialized (
    select o.n, p.id
    from old o cross join lateral (
      select p.id from public.pairing_codes p where p.id = o.id and p.status = 'active' for update skip locked) p
  ), ended as (
    update public.pairing_codes p
    set status = case when p.expires_at <= now() then 'expired' else 'cancelled' end, ended_at = least(now(), p.expires_at)
    from held h where p.id = h.id
    returning h.n, p.id, p.status, pg_notify('scsp_codes', p.id::text)
  )
  select (select jsonb_agg(jsonb_build_object('n', e.n, 'id', e.id, 'status', e.status)) from ended e),
    array(select o.n from old o where o.n <> all (array(select h.n from held h)))
  into replaced, busy;

  -- Issue. The setting tells the trigger on pairing_codes that these codes get neighbour keys.
  perform set_config('scsp.stores_neighbours', 'on', true);
  with added as (
    insert into public.pairing_codes (id, hash, length, user_id, charging_location_id, cpo_id, expires_at)
    select q.id, c.hashes[1], c.length, q.user_id, q.charging_location_id, q.cpo_id,
      now() + make_interval(secs => ttl_seconds)
    from unnest(chosen) as chosen (i)
      cross join jsonb_to_record(candidates -> i) as c (n int, length int, hashes bytea[])
      cross join jsonb_to_record(requests -> c.n) as q (
        id uuid, user_id text, charging_location_id text, cpo_id uuid)
    where c.n <> all (busy)
    on conflict do nothing
    returning id
  )
  select array_agg(i) into issued_now
  from unnest(chosen) as chosen (i)
  where (requests -> (candidates -> i ->> 'n')::int ->> 'id')::uuid in (select id from added);
  perform set_config('scsp.stores_neighbours', 'off', true);

  -- Record the neighbour keys, the entries that count towards the user's limit, and what became of the old codes.
  with code as materialized (
    select q.*, c.n, c.keys
    from unnest(issued_now) as issued (i)
      cross join jsonb_to_record(candidates -> i) as c (n int, keys bigint[])
      cross join jsonb_to_record(requests -> c.n) as q (id uuid, user_hashes bytea[])
  ), neighbour as (
    insert into public.code_neighbours (key, code_id, expires_at)
    select key, c.id, now() + make_interval(secs => ttl_seconds) from code c cross join unnest(c.keys) as key
  ), event as (
    insert into public.events (id, type, code_id, replaced_by, traceparent)
    select (requests -> r.n ->> 'replaced_event')::uuid, 'pairing_code.' || r.status, r.id,
      case when r.status = 'cancelled' then (select c.id from code c where c.n = r.n) end,
      requests -> r.n ->> 'traceparent'
    from jsonb_to_recordset(replaced) as r (n int, id uuid, status text)
  )
  insert into public.user_code_issues (user_hash, id) select c.user_hashes[1], c.id from code c;

  return query
  select q.n,
    case
      when c.i is not null then 'issued'
      when q.n = any(unknown_cpo) then 'unknown-cpo'
      when q.n = any(over_limit) then 'too-many-codes'
      when q.n = any(turns) and t.length is null then 'space-used-up'
      else 'retry'
    end,
    c.i, t.length,
    case when q.n = any(over_limit) then (
      -- Until the oldest of the last `user_limit` codes leaves the ten-minute window.
      select greatest(1, ceil(extract(epoch from
        (array_agg(u.issued_at order by u.issued_at desc))[user_limit] + interval '10 minutes' - now())))::int
      from public.user_code_issues u
      where u.user_hash = any(q.user_hashes) and u.issued_at > now() - interval '10 minutes') end,
    missing, now()::timestamptz(3), (now() + make_interval(secs => ttl_seconds))::timestamptz(3), r.id, r.status
  from jsonb_to_recordset(requests) as q (n int, user_hashes bytea[])
    left join unnest(turns[:cardinality(lengths)], lengths) as t (n, length) on t.n = q.n
    left join (select i, (candidates -> i ->> 'n')::int as n from unnest(issued_now) as i) as c on c.n = q.n
    left join jsonb_to_recordset(replaced) as r (n int, id uuid, status text) on r.n = q.n;
end $$;
