import type { Schemas } from '../contract/document';
import { repeated } from '../stations/station';
import { connectorErrors, listIn, member, readConnector, type Written, writeConnector } from './connectors';
import type { OcppBody, Protocol } from './protocol';

/** OCPP 1.6, 2.0.1 and 2.1: a charging station with EVSEs. For 1.6, which has no EVSE tier, `evse_id` is the connector id. */
export const ocpp: Protocol<OcppBody> = {
  answerSchema: 'CpoPairOcppResponse',
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

  faults(body) {
    const evses = listIn(member(body, 'charging_station'), 'evses');
    return [
      ...repeated(evses.map((evse) => member(evse, 'evse_id'))).map((position) => ({
        pointer: `/charging_station/evses/${position}/evse_id`,
        message: 'is used by another EVSE of this station',
      })),
      ...evses.flatMap((evse, position) => connectorErrors(evse, `/charging_station/evses/${position}`)),
    ];
  },
};
