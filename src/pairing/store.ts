import type { Station } from '../stations/station';

/**
 * The tail of a statement that pairs: stores what hangs on the rows of `paired (id, code_id, cpo_id)` with the
 * stations of `request (pairing_id, event_id, payload_protocol, uid, evses)`. Set-shaped: any number of pairings.
 */
export const STORE = `
station as (
  insert into stations (pairing_id, uid, payload_protocol)
  select p.id, r.uid, r.payload_protocol from paired p join request r on r.pairing_id = p.id
), evse as (
  select p.id as pairing_id, e.position::smallint, e.evse_id, e.capabilities, e.connectors
  from paired p join request r on r.pairing_id = p.id
  cross join rows from (jsonb_to_recordset(r.evses) as (evse_id text, capabilities text[], connectors jsonb))
    with ordinality as e (evse_id, capabilities, connectors, position)
), stored_evse as (
  insert into evses (pairing_id, position, evse_id, capabilities)
  select pairing_id, position, evse_id, capabilities from evse
), stored_connector as (
  insert into connectors (pairing_id, evse_position, position, connector_id, power_type,
    max_voltage, max_amperage, standard, format, max_electric_power)
  select e.pairing_id, e.position, c.position::smallint, c.id, c.power_type,
    c.max_voltage, c.max_amperage, c.standard, c.format, c.max_electric_power
  from evse e
  cross join rows from (jsonb_to_recordset(e.connectors) as (id text, power_type text, max_voltage int,
    max_amperage int, standard text, format text, max_electric_power int))
    with ordinality as c (id, power_type, max_voltage, max_amperage, standard, format, max_electric_power, position)
), event as (
  insert into events (id, type, code_id, pairing_id, cpo_id)
  select r.event_id, 'station.paired', p.code_id, p.id, p.cpo_id
  from paired p join request r on r.pairing_id = p.id
)`;

/** The EVSEs of a station as STORE reads them. */
export function evseRows(station: Station) {
  return station.evses.map((evse) => ({
    evse_id: evse.evseId,
    capabilities: evse.capabilities,
    connectors: evse.connectors.map((connector) => ({
      id: connector.id,
      power_type: connector.powerType,
      max_voltage: connector.maxVoltage,
      max_amperage: connector.maxAmperage,
      standard: connector.standard,
      format: connector.format,
      max_electric_power: connector.maxElectricPower,
    })),
  }));
}
