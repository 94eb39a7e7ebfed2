-- Pairs stations with the customers who were shown the codes (contract, section 3, steps 5 to 8): a batch of requests, of any CPOs,
-- in one statement and one commit. Every step processes the whole batch.
--
--   step                      | locks, until the commit          | rows
--   --------------------------+----------------------------------+----------------------------------------------
--   1 lock the counters       | cpo_tries, by cpo_id             |
--   2 check the reservations  | idempotency_keys, by reservation |
--   3 check the limits        |                                  | reads failed_attempts, pairings
--   4 match the codes         | pairing_codes, skip locked       |
--   5 classify the others     |                                  | reads what steps 3 and 4 read
--   6 count incorrect codes   |                                  | inserts failed_attempts, updates cpo_tries
--   7 pair                    | pairings by station_uid (unique) | inserts pairings
--   8 use up the codes        |                                  | updates pairing_codes, may update pairings
--   9 store the stations      |                                  | inserts stations, evses, connectors, events, attempts
--  10 reject the others       |                                  | inserts events, attempts
--  11 store the outcomes      |                                  | updates idempotency_keys
--
-- Two batches cannot deadlock: counters are locked first and in a fixed order, locked codes are skipped, and pairings are inserted in
-- the order of their uids.
--
-- Relies on READ COMMITTED: in a volatile function each statement has a snapshot of its own. So step 3 sees every attempt counted
-- under the lock that step 1 waited for, and step 10 sees the pairing that won against step 7. Under a stricter isolation level
-- these races end in a serialization failure, and the batch is retried.
--
-- Starting a statement costs more than executing it. So a correct code of a CPO that has sent no incorrect code for 25 hours
-- only passes steps 1, 4, 7, 8 and 9, and with an Idempotency-Key steps 2 and 11.
--
-- Outcomes besides those of the contract; none of them changes anything:
--   retry             the outcome depends on another request of the batch, or the code is locked: send the request again
--   counter-locked    the CPO's counter is locked (only if not `wait`)
--   reservation-lost  another request has taken over the Idempotency-Key
create function public.scsp_pair_v4(
  requests json,      -- [scsp_pair_request_v2, …], n from 1
  evses json,         -- [{pairing_id, position, evse_id, capabilities}, …] of all requests
  connectors json,    -- [{pairing_id, evse_position, position, connector_id, …}, …] of all requests
  limits public.scsp_limits,
  wait boolean        -- whether to wait for locked counters instead of skipping their requests
) returns table (n integer, outcome text, code_id uuid, retry_after integer, allowance public.scsp_allowance_v2)
language plpgsql
set search_path = ''
-- Planning each statement in each call would cost more than executing it.
set plan_cache_mode = force_generic_plan
-- Generic plans are kept, and may be created while the tables are still empty.
set enable_seqscan = off
-- Disabled scans have costs so high that PostgreSQL would compile the statements.
set jit = off
-- Batches are small: each of their rows is looked up by its key.
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  request public.scsp_pair_request_v2[];
  cpos uuid[];
  locked uuid[];
  may_count boolean;
  any_counted boolean := false;
  reservations uuid[];
  reserved uuid[];
  clock timestamptz;
  allowances public.scsp_allowance_v2[];
  exhausted integer[] := '{}';
  matched public.scsp_match[];
  other public.scsp_other[];
  paired uuid[];
  paired_codes uuid[];
begin
  select array_agg(r), array_agg(distinct r.cpo_id), array_agg(r.reservation) filter (where r.reservation is not null)
  into request, cpos, reservations
  from json_populate_recordset(null::public.scsp_pair_request_v2, requests) r;

  -- 1. Lock the counters, so that concurrent attempts of a CPO are counted one after the other. Correct codes take the lock too.
  -- Attempts of 24 hours count. The clock is read again below, and may have been set back by then: by up to an hour, this allows.
  if wait then
    select array_agg(t.cpo_id), bool_or(t.recent) into locked, may_count from (
      select t.cpo_id, t.last_failed_at > now() - interval '25 hours' as recent
      from public.cpo_tries t where t.cpo_id = any (cpos) order by t.cpo_id for update
    ) t;
  else
    select array_agg(t.cpo_id), bool_or(t.recent) into locked, may_count from (
      select t.cpo_id, t.last_failed_at > now() - interval '25 hours' as recent
      from public.cpo_tries t where t.cpo_id = any (cpos) order by t.cpo_id for update skip locked
    ) t;
  end if;
  if locked is distinct from cpos then
    return query
      select r.n, 'counter-locked', null::uuid, null::integer, null::public.scsp_allowance_v2
      from unnest(request) r where r.cpo_id <> all (coalesce(locked, '{}'));
    select array_agg(r) into request from unnest(request) r where r.cpo_id = any (locked);
  end if;

  -- 2. Check the reservations. If another request has taken over an Idempotency-Key, only that request may store its outcome.
  if reservations is not null then
    select array_agg(reservation) into reserved from (
      select i.reservation from public.idempotency_keys i
      join unnest(request) r on i.cpo_id = r.cpo_id and i.path = r.idempotency_path and i.key = r.idempotency_key
      where i.reservation = r.reservation and i.outcome is null
      order by i.reservation for update of i
    ) i;
    return query
      select r.n, 'reservation-lost', null::uuid, null::integer, null::public.scsp_allowance_v2
      from unnest(request) r where r.reservation <> all (coalesce(reserved, '{}'));
    select array_agg(r) into request
    from unnest(request) r where r.reservation is null or r.reservation = any (reserved);
  end if;
  if request is null then
    return;
  end if;

  -- 3. Check the limits.
  clock := clock_timestamp();
  if may_count then
    select array_agg(a),
      coalesce(array_agg(a.n) filter (
        where least(a.left_cpo_10min, a.left_cpo_24h, a.left_uid_10min, a.left_uid_24h) <= 0), '{}')
    into allowances, exhausted from public.scsp_allowances_v1(request, locked, limits, clock) a;
  end if;

  -- 4. Match the codes and lock them; codes locked by another transaction are skipped. If a limit is exhausted, the code is not
  -- looked up, so that the work for a 429 does not depend on it.
  select array_agg(row(r.n, c.id, c.user_id, c.charging_location_id)::public.scsp_match) into matched
  from unnest(request) r cross join unnest(r.code_hashes) h (hash) cross join lateral (
    select c.id, c.user_id, c.charging_location_id from public.pairing_codes c
    where r.n <> all (exhausted) and c.length = r.code_length and c.hash = h.hash and c.status = 'active'
      -- "is true" prevents the planner from using the index on the expiry.
      and (c.expires_at > clock) is true and (c.cpo_id is null or c.cpo_id = r.cpo_id)
    for update skip locked
  ) c;

  if coalesce(cardinality(matched), 0) < cardinality(request) then
    -- 5. Classify the others. The same incorrect code for the same uid counts once per 60 seconds.
    if allowances is null then
      select array_agg(a) into allowances from public.scsp_allowances_v1(request, locked, limits, clock) a;
    end if;
    with others as (
      select r.n, r.uid_hashes, r.code_hashes, a.counted_at, case
        when r.n = any (exhausted) then 'too-many-incorrect-codes'
        -- The code is locked by another transaction.
        when (
          select true from unnest(r.code_hashes) h (hash) cross join lateral (
            select from public.pairing_codes c
            where c.length = r.code_length and c.hash = h.hash and c.status = 'active'
              and (c.expires_at > clock) is true and (c.cpo_id is null or c.cpo_id = r.cpo_id) limit 1
          ) c limit 1) then 'retry'
        -- This CPO has paired this uid with this code, and the pairing has not ended.
        when (
          select true from public.pairings q join public.pairing_codes c on c.id = q.code_id
          where q.station_uid = r.station_uid and q.ended_at is null and q.cpo_id = r.cpo_id
            and c.hash = any (r.code_hashes)) then 'station-already-paired'
        else 'incorrect-code' end as outcome
      from unnest(request) r join unnest(allowances) a on a.n = r.n
      where r.n <> all (array(select m.n from unnest(matched) m))
    )
    select array_agg(row(o.n, o.outcome, case when o.outcome = 'incorrect-code' and (
        select true from public.failed_attempts f
        where f.uid_hash = any (o.uid_hashes) and f.code_hash = any (o.code_hashes)
          -- "is true" prevents the planner from using the primary key, of which the time is a part.
          and (f.failed_at > o.counted_at - interval '60 seconds') is true limit 1) is null
      then o.counted_at end)::public.scsp_other) into other
    from others o;

    if cardinality(request) > 1 then
      -- Within the batch, too, the same incorrect code counts once. If the incorrect codes of earlier requests use up a limit,
      -- later requests are retried, whether or not their code is correct.
      with once as (
        select r.n, r.cpo_id, r.uid_hashes[1] as uid_hash, o.outcome,
          least(a.left_cpo_10min, a.left_cpo_24h) as left_cpo, least(a.left_uid_10min, a.left_uid_24h) as left_uid,
          case when row_number() over (
            partition by r.uid_hashes[1], r.code_hashes[1], o.counted_at order by r.n) = 1 then o.counted_at end as counted_at
        from unnest(request) r join unnest(allowances) a on a.n = r.n left join unnest(other) o on o.n = r.n
      ), turn as (
        select s.*,
          count(s.counted_at) over (partition by s.cpo_id order by s.n
            rows between unbounded preceding and 1 preceding) as counted_cpo,
          count(s.counted_at) over (partition by s.uid_hash order by s.n
            rows between unbounded preceding and 1 preceding) as counted_uid
        from once s
      ), placed as (
        select t.*, t.n <> all (exhausted) and (t.counted_cpo >= t.left_cpo or t.counted_uid >= t.left_uid) as must_retry
        from turn t
      )
      select array_agg(row(p.n, case when p.must_retry then 'retry' else p.outcome end,
        case when not p.must_retry then p.counted_at end)::public.scsp_other) into other
      from placed p where p.outcome is not null or p.must_retry;
      select array_agg(m) into matched
      from unnest(matched) m where m.n <> all (array(select o.n from unnest(other) o));
    end if;

    -- 6. Count the incorrect codes. Sequence numbers have no gaps, and times never decrease.
    with counted as (
      insert into public.failed_attempts (cpo_id, failed_at, seq, uid_hash, code_hash)
      select r.cpo_id, o.counted_at, t.failed_count + row_number() over (partition by r.cpo_id order by r.n),
        r.uid_hashes[1], r.code_hashes[1]
      from unnest(other) o join unnest(request) r on r.n = o.n join public.cpo_tries t on t.cpo_id = r.cpo_id
      where o.counted_at is not null
      returning cpo_id, failed_at
    )
    update public.cpo_tries t set failed_count = t.failed_count + c.failed, last_failed_at = c.failed_at
    from (select cpo_id, count(*) as failed, max(failed_at) as failed_at from counted group by cpo_id) c
    where t.cpo_id = c.cpo_id;
    any_counted := found;
  end if;

  if matched is not null then
    -- 7. Pair. The unique keys are the check: a code pairs once, and a uid has at most one pairing that has not ended.
    with inserted as (
      insert into public.pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id, paired_at)
      select r.pairing_id, m.code_id, r.cpo_id, r.station_uid, m.user_id, m.charging_location_id, clock_timestamp()
      from unnest(matched) m join unnest(request) r on r.n = m.n
      order by r.station_uid, r.n
      on conflict do nothing
      returning id, code_id
    )
    select array_agg(id), array_agg(code_id) into paired, paired_codes from inserted;
  end if;

  if paired is not null then
    -- 8. Use up the codes, and notify the long polls that follow them. A pairing begins no earlier than the last one of its uid
    -- ended: the clock of step 7 was read before the insert waited for that end, or the clock was set back. Under a stricter
    -- isolation level an end that was waited for cannot be seen, only that it must have come: then the batch is retried. The
    -- clock is read again for a pairing that both began and ended meanwhile.
    if current_setting('transaction_isolation') <> 'read committed' then
      -- Not in one condition with the above, because that would start the query each time.
      if exists (
        select from public.pairings q join public.pairings e on e.station_uid = q.station_uid and e.ended_at is null and e.id <> q.id
        where q.id = any (paired)) then
        raise serialization_failure using message = 'a pairing of the uid ended meanwhile';
      end if;
    end if;
    with late as (
      update public.pairings p set paired_at = l.begins
      from (
        select q.id, greatest(
          (select max(e.ended_at) from public.pairings e where e.station_uid = q.station_uid and e.ended_at is not null),
          case when current_setting('transaction_isolation') <> 'read committed' then clock_timestamp() end) as begins
        from public.pairings q where q.id = any (paired)
      ) l
      where p.id = l.id and p.paired_at < l.begins
    )
    update public.pairing_codes c set status = 'used', ended_at = now() where c.id = any (paired_codes);
    perform pg_notify('scsp_codes', id::text) from unnest(paired_codes) id;

    -- 9. Store the stations.
    perform public.scsp_store_stations_v2(paired, requests, evses, connectors);
    return query
      with attempt as (
        insert into public.attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
        select r.attempt_id, r.cpo_id, r.request_id, r.payload_protocol, r.uid, 'paired'
        from unnest(request) r where r.pairing_id = any (paired)
      )
      select r.n, 'paired', m.code_id, null::integer, null::public.scsp_allowance_v2
      from unnest(request) r join unnest(matched) m on m.n = r.n where r.pairing_id = any (paired);
  end if;

  -- 10. Reject the others. A request whose code matched lost either the uid, or the code to another request of the batch.
  if coalesce(cardinality(paired), 0) < coalesce(cardinality(matched), 0) then
    select other || array_agg(row(r.n, case
      when (select q.id from public.pairings q where q.station_uid = r.station_uid and q.ended_at is null) is not null
        then 'station-already-paired'
      else 'retry' end, null)::public.scsp_other) into other
    from unnest(request) r join unnest(matched) m on m.n = r.n
    where r.pairing_id <> all (coalesce(paired, '{}'));

    -- Tell the app of a correct code that met a paired uid: once for a code and uid, at most 10 times for a code, and not of the
    -- pairing that the code itself has made. The event refers to the pairing in the way, which has the uid: it is erased with it.
    insert into public.events (id, type, code_id, cpo_id, pairing_id, traceparent)
    select gen_random_uuid(), 'pairing.refused', f.code_id, f.cpo_id, f.pairing_id, f.traceparent
    from (
      select distinct on (m.code_id, q.id) m.code_id, r.cpo_id, q.id as pairing_id, r.traceparent,
        dense_rank() over (partition by m.code_id order by q.id) + (
          select count(*) from public.events e where e.type = 'pairing.refused' and e.code_id = m.code_id) as nth
      from unnest(matched) m join unnest(request) r on r.n = m.n
      cross join lateral (
        select p.id, p.code_id from public.pairings p where p.station_uid = r.station_uid and p.ended_at is null limit 1
      ) q
      where r.pairing_id <> all (coalesce(paired, '{}')) and q.code_id is distinct from m.code_id and (
        select e.id from public.events e join public.pairings b on b.id = e.pairing_id
        where e.type = 'pairing.refused' and e.code_id = m.code_id and b.station_uid = r.station_uid limit 1) is null
      order by m.code_id, q.id, r.n
    ) f where f.nth <= 10;
    if found then
      perform pg_notify('scsp_events', 'unpublished');
    end if;
  end if;

  -- Record the rejected attempts, with the reason why a code was incorrect, and return what remains of the limits. A uid that
  -- repeats a code that may still be active is not stored.
  if other is not null then
    if any_counted then
      select array_agg(a) into allowances from public.scsp_allowances_v1(request, locked, limits, clock) a;
    end if;
    return query
      with attempt as (
        insert into public.attempts (id, cpo_id, request_id, payload_protocol, uid, outcome, reason)
        select r.attempt_id, r.cpo_id, r.request_id, r.payload_protocol,
          case when r.uid_repeats_code is null then r.uid end, o.outcome,
          case when o.outcome = 'incorrect-code' then coalesce((
            select case when c.status = 'active' and c.expires_at <= clock then 'expired'
              when c.status = 'active' then 'other-cpo' else c.status end
            from public.pairing_codes c where c.hash = any (r.code_hashes) order by c.created_at desc limit 1), 'unknown') end
        from unnest(other) o join unnest(request) r on r.n = o.n
        where o.outcome <> 'retry'
      )
      select o.n, o.outcome, case when o.outcome = 'station-already-paired' then m.code_id end,
        case when o.outcome = 'too-many-incorrect-codes' then public.scsp_retry_after_v2(r, a) end, a
      from unnest(other) o join unnest(request) r on r.n = o.n
      left join unnest(allowances) a on a.n = o.n left join unnest(matched) m on m.n = o.n;
  end if;

  -- 11. Store the outcomes to be replayed for Idempotency-Keys.
  if reservations is not null then
    update public.idempotency_keys i
    set outcome = coalesce(o.outcome, 'paired'), pairing_id = case when o.outcome is null then r.pairing_id end
    from unnest(request) r left join unnest(other) o on o.n = r.n
    where i.cpo_id = r.cpo_id and i.path = r.idempotency_path and i.key = r.idempotency_key
      and i.reservation = r.reservation
      and (r.pairing_id = any (paired) or o.outcome in ('incorrect-code', 'station-already-paired'));
  end if;
end $$;
