-- Ends the pairing of a uid (contract, section 6) if it belongs to `of_cpo` and `of_user`; null matches any. Locks the pairing's
-- row until the commit. Returns the pairing, or no row. The uid can be paired again afterwards. A pairing ends no earlier than it
-- began, whatever the clock says. The clock may have been read before the lock was waited for, if the other transaction was rolled
-- back; no pairing of the uid can have begun meanwhile.
create function public.scsp_unpair_v3(station_uid text, ended_by text, event_id uuid, of_cpo uuid, of_user text, traceparent text)
returns table (pairing_id uuid, cpo_id uuid, uid text, payload_protocol text)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
-- On tables that were never analyzed, the planner expects so many rows that it would compile the statements, for seconds.
set jit = off
as $$
#variable_conflict use_variable
begin
  update public.pairings p set ended_at = greatest(clock_timestamp(), p.paired_at), ended_by = ended_by
  where p.station_uid = station_uid and p.ended_at is null
    and (of_cpo is null or p.cpo_id = of_cpo) and (of_user is null or p.user_id = of_user)
  returning p.id, p.cpo_id into pairing_id, cpo_id;
  if not found then
    return;
  end if;

  insert into public.events (id, type, pairing_id, cpo_id, traceparent)
  values (event_id, 'station.unpaired', pairing_id, cpo_id, traceparent);
  perform pg_notify('scsp_events', 'unpublished');

  select s.uid, s.payload_protocol into uid, payload_protocol from public.stations s where s.pairing_id = scsp_unpair_v3.pairing_id;
  return next;
end $$;
