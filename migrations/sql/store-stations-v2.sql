-- Inserts the stations, EVSEs, connectors and events of new pairings. `requests` is [{pairing_id, event_id, uid,
-- payload_protocol, traceparent}, …]; `evses` and `connectors` are as for scsp_pair_v3. Entries of pairings that are not in
-- `pairing_ids` are ignored. Only called by functions that set an empty search_path.
create function public.scsp_store_stations_v2(pairing_ids uuid[], requests json, evses json, connectors json)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  with request as materialized (
    select * from json_to_recordset(requests) r (pairing_id uuid, event_id uuid, uid text, payload_protocol text, traceparent text)
    where r.pairing_id = any (pairing_ids)
  ), station as (
    insert into public.stations (pairing_id, uid, payload_protocol)
    select r.pairing_id, r.uid, r.payload_protocol from request r
  ), evse as (
    insert into public.evses (pairing_id, position, evse_id, capabilities)
    select e.pairing_id, e.position, e.evse_id, e.capabilities
    from json_to_recordset(evses) e (pairing_id uuid, position smallint, evse_id text, capabilities text[])
    where e.pairing_id = any (pairing_ids)
  ), connector as (
    insert into public.connectors (pairing_id, evse_position, position, connector_id, power_type,
      max_voltage, max_amperage, standard, format, max_electric_power)
    select c.pairing_id, c.evse_position, c.position, c.connector_id, c.power_type,
      c.max_voltage, c.max_amperage, c.standard, c.format, c.max_electric_power
    from json_to_recordset(connectors) c (
      pairing_id uuid, evse_position smallint, position smallint, connector_id text, power_type text,
      max_voltage integer, max_amperage integer, standard text, format text, max_electric_power integer)
    where c.pairing_id = any (pairing_ids)
  )
  insert into public.events (id, type, code_id, pairing_id, cpo_id, traceparent)
  select r.event_id, 'station.paired', p.code_id, p.id, p.cpo_id, r.traceparent
  from request r join public.pairings p on p.id = r.pairing_id;
end $$;
