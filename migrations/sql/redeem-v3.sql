-- Stores the station that a CPO returned for a CPO-issued code (contract, section 5), in one statement and one commit.
--
--   step                    | locks, until the commit  | rows
--   ------------------------+--------------------------+----------------------------------------------
--   1 check the reservation | idempotency_keys         |
--   2 end the attempt       | redemption_attempts      | updates redemption_attempts
--   3 pair                  | pairings by station_uid  | inserts pairings
--   4 store the station     |                          | inserts stations, evses, connectors, events
--   5 record                |                          | updates idempotency_keys
--
-- Outcomes: `paired`, `station-already-paired`, `user-forgotten`, `reservation-lost`. Erasing the user also ends the attempt
-- (`forgotten`): a redemption that commits later finds its attempt ended, and one that committed earlier left a pairing, which
-- the erasure finds.
create function public.scsp_redeem_v3(
  request json,       -- {pairing_id, event_id, attempt_id, cpo_id, user_id, charging_location_id, payload_protocol, uid,
                      --  station_uid, idempotency_owner, idempotency_path, idempotency_key, reservation, traceparent}
  evses json,         -- as for scsp_store_stations_v2
  connectors json
) returns table (outcome text, paired_at timestamptz)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
-- On tables that were never analyzed, the planner expects so many rows that it would compile the statements, for seconds.
set jit = off
as $$
#variable_conflict use_column
declare
  r record;
begin
  select * into r from json_to_record(request) as r (
    pairing_id uuid, attempt_id uuid, cpo_id uuid, user_id text, charging_location_id text, station_uid text,
    idempotency_owner uuid, idempotency_path text, idempotency_key text, reservation uuid);

  -- 1. Check the reservation. If another request has taken over the Idempotency-Key, that request stores the outcome.
  if r.reservation is not null then
    perform from public.idempotency_keys i
    where i.cpo_id = r.idempotency_owner and i.path = r.idempotency_path and i.key = r.idempotency_key
      and i.reservation = r.reservation and i.outcome is null
    for update;
    if not found then
      return query select 'reservation-lost', null::timestamptz;
      return;
    end if;
  end if;

  -- 2. End the attempt.
  update public.redemption_attempts a set outcome = 'answered' where a.id = r.attempt_id and a.outcome is null;
  if not found then
    return query select 'user-forgotten', null::timestamptz;
    return;
  end if;

  -- 3. Pair. The unique key is the check: a uid has at most one pairing that has not ended.
  insert into public.pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at)
  values (r.pairing_id, r.cpo_id, r.station_uid, r.user_id, r.charging_location_id, clock_timestamp())
  on conflict do nothing
  returning pairings.paired_at into paired_at;
  outcome := case when paired_at is null then 'station-already-paired' else 'paired' end;

  -- The pairing begins no earlier than the last one of its uid ended, whatever was waited for and whatever the clock says. Under
  -- a stricter isolation level than READ COMMITTED an end that was waited for cannot be seen, only that it must have come: then
  -- the statement is retried.
  if outcome = 'paired' then
    if current_setting('transaction_isolation') <> 'read committed' and exists (
      select from public.pairings e where e.station_uid = r.station_uid and e.ended_at is null and e.id <> r.pairing_id) then
      raise serialization_failure using message = 'a pairing of the uid ended meanwhile';
    end if;
    update public.pairings p
    set paired_at = greatest(p.paired_at, clock_timestamp(), (
      select max(e.ended_at) from public.pairings e where e.station_uid = p.station_uid and e.ended_at is not null))
    where p.id = r.pairing_id
    returning p.paired_at into paired_at;
    perform pg_notify('scsp_events', 'unpublished');
  end if;

  -- 4. Store the station.
  if outcome = 'paired' then
    perform public.scsp_store_stations_v2(array[r.pairing_id], json_build_array(request), evses, connectors);
  end if;

  -- 5. Record the outcome to be replayed for the Idempotency-Key.
  if r.reservation is not null then
    update public.idempotency_keys i
    set outcome = scsp_redeem_v3.outcome, pairing_id = case when scsp_redeem_v3.outcome = 'paired' then r.pairing_id end
    where i.cpo_id = r.idempotency_owner and i.path = r.idempotency_path and i.key = r.idempotency_key;
  end if;
  return next;
end $$;
