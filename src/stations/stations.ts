import { type Database, rows } from '../db/database';
import type { Station } from './station';

/** A station with the link that it hangs on. */
export type PairedStation = {
  readonly pairingId: string;
  readonly cpoId: string;
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly payloadProtocol: string;
  readonly pairedAt: Date;
  readonly station: Station;
};

const SELECT = `
select p.id as "pairingId", p.cpo_id as "cpoId", p.user_id as "userId",
  p.charging_location_id as "chargingLocationId", p.paired_at as "pairedAt",
  s.payload_protocol as "payloadProtocol",
  json_build_object('uid', s.uid, 'evses', (
    select json_agg(json_build_object(
      'evseId', e.evse_id,
      'capabilities', e.capabilities,
      'connectors', (
        select json_agg(json_build_object(
          'id', c.connector_id, 'powerType', c.power_type,
          'maxVoltage', c.max_voltage, 'maxAmperage', c.max_amperage,
          'standard', c.standard, 'format', c.format, 'maxElectricPower', c.max_electric_power
        ) order by c.position)
        from connectors c where c.pairing_id = e.pairing_id and c.evse_position = e.position)
    ) order by e.position)
    from evses e where e.pairing_id = p.id
  )) as station
from pairings p join stations s on s.pairing_id = p.id`;

/** The station that a code paired, whether the pairing lasts or has ended. */
export async function stationOfCode(db: Database, codeId: string): Promise<PairedStation | undefined> {
  const [found] = await rows<PairedStation>(db, `${SELECT} where p.code_id = $1`, [codeId]);
  return found && { ...found, station: withoutNulls(found.station) };
}

/** SQL says null where the core and the wire leave a member out. */
function withoutNulls(station: Station): Station {
  return JSON.parse(JSON.stringify(station, (_key, value) => (value === null ? undefined : value)));
}
