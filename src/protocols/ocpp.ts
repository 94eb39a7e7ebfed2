import type { Schemas } from '../contract/document';
import { duplicatePositions } from '../stations/station';
import { arrayMember, connectorErrors, member, readConnector, type Written, writeConnector } from './connectors';
import type { OcppBody, Protocol } from './protocol';

/** Translates OCPP 1.6, 2.0.1 and 2.1: a charging station with EVSEs. In 1.6, `evse_id` is the connectorId. */
export const ocpp: Protocol<OcppBody> = {
  responseSchema: 'CpoPairOcppResponse',
  unpairSegment: 'chargingstations',

  read({ charging_station: { uid, evses } }) {
    return {
      uid,
      evses: evses.map((evse) => ({
        evseId: String(evse.evse_id),
        capabilities: evse.capabilities,
        connectors: evse.connectors.map(readConnector),
      })),
    };
  },

  write(station) {
    return {
      charging_station: {
        uid: station.uid,
        evses: station.evses.map(
          (evse): Written<Schemas['OcppEvse']> => ({
            evse_id: Number(evse.evseId),
            capabilities: evse.capabilities && [...evse.capabilities],
            connectors: evse.connectors.map(writeConnector),
          }),
        ),
      } satisfies Written<OcppBody['charging_station']>,
    };
  },

  semanticErrors(body) {
    const evses = arrayMember(member(body, 'charging_station'), 'evses');
    return [
      ...duplicatePositions(evses.map((evse) => member(evse, 'evse_id'))).map((position) => ({
        pointer: `/charging_station/evses/${position}/evse_id`,
        message: 'is used by another EVSE of this station',
      })),
      ...evses.flatMap((evse, position) => connectorErrors(evse, `/charging_station/evses/${position}`)),
    ];
  },
};
