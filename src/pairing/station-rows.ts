import type { Station } from '../stations/station';

/** Holds the rows that `scsp_store_stations_v2` inserts for a station. */
export type StationRows = { readonly evses: readonly object[]; readonly connectors: readonly object[] };

/** Returns the rows of a station's EVSEs and connectors, in the order of the request. */
export function stationRows(pairingId: string, station: Station): StationRows {
  const evses = station.evses.map(({ evseId, capabilities }, position) => ({
    pairing_id: pairingId,
    position: position + 1,
    evse_id: evseId,
    capabilities,
  }));
  const connectors = station.evses.flatMap((evse, evsePosition) =>
    evse.connectors.map((connector, position) => ({
      pairing_id: pairingId,
      evse_position: evsePosition + 1,
      position: position + 1,
      connector_id: connector.id,
      power_type: connector.powerType,
      max_voltage: connector.maxVoltage,
      max_amperage: connector.maxAmperage,
      standard: connector.standard,
      format: connector.format,
      max_electric_power: connector.maxElectricPower,
    })),
  );
  return { evses, connectors };
}
