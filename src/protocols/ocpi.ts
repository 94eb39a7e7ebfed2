import { connectorErrors, member, readConnector, type Written, writeConnector } from './connectors';
import type { OcpiBody, Protocol } from './protocol';

/** Translates OCPI 2.2, 2.2.1 and 2.3.0 (8.3.2): a single EVSE that is its own station. `evse_id` is the eMI3 id. */
export const ocpi: Protocol<OcpiBody> = {
  responseSchema: 'CpoPairOcpiResponse',
  unpairSegment: 'evse',

  read({ evse: { uid, evse_id, capabilities, connectors } }) {
    return { uid, evses: [{ evseId: evse_id, capabilities, connectors: connectors.map(readConnector) }] };
  },

  write({ uid, evses: [evse] }) {
    return {
      evse: {
        uid,
        evse_id: evse?.evseId,
        capabilities: evse?.capabilities && [...evse.capabilities],
        connectors: evse?.connectors.map(writeConnector) ?? [],
      } satisfies Written<OcpiBody['evse']>,
    };
  },

  semanticErrors: (body) => connectorErrors(member(body, 'evse'), '/evse'),
};
