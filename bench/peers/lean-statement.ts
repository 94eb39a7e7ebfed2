/**
 * Pairs in one statement and does nothing else: uses up the code, stores the station. It counts no failed attempts, records
 * no attempt and no event, and notifies nobody. A uid that is paired already violates a unique index.
 * `$1` length of the code, `$2` its hash, `$3` CPO, `$4` id of the pairing, `$5` uid in lower case, `$6` uid,
 * `$7` payload protocol, `$8` EVSEs as JSON.
 */
export const PAIR = `
with used as (
  update pairing_codes set status = 'used', ended_at = now()
  where length = $1 and hash = $2 and status = 'active' and (expires_at > now()) is true and (cpo_id is null or cpo_id = $3)
  returning id, user_id, charging_location_id
), paired as (
  insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id)
  select $4, id, $3, $5, user_id, charging_location_id from used returning id
), station as (
  insert into stations (pairing_id, uid, payload_protocol) select id, $6, $7 from paired
), evse as (
  insert into evses (pairing_id, position, evse_id, capabilities)
  select p.id, e.position, e.evse_id, e.capabilities from paired p,
    rows from (jsonb_to_recordset($8::jsonb) as (evse_id text, capabilities text[])) with ordinality as e (evse_id, capabilities, position)
), connector as (
  insert into connectors (pairing_id, evse_position, position, connector_id, power_type, max_voltage, max_amperage)
  select p.id, e.position, c.position, c.id, c.power_type, c.max_voltage, c.max_amperage from paired p,
    rows from (jsonb_to_recordset($8::jsonb) as (connectors jsonb)) with ordinality as e (connectors, position),
    rows from (jsonb_to_recordset(e.connectors) as (id text, power_type text, max_voltage int, max_amperage int))
      with ordinality as c (id, power_type, max_voltage, max_amperage, position)
)
select id from paired`;
