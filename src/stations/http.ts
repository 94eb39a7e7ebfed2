import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract/document';
import { idIn, LAST_ID, readPage } from '../http/pagination';
import { storedProtocolOf } from '../protocols';
import { listStations, type PairedStation, stationOfUid } from './stations';

export function stationHandlers(ctx: Context): Pick<Handlers, 'listStations' | 'getStation'> {
  return {
    async listStations(req, res) {
      const page = await readPage(
        req.query,
        LAST_ID,
        ({ pairingId }) => pairingId,
        (before, limit) => listStations(ctx.db, req.query.user_id, idIn(before), limit),
        writePairing,
      );
      res.json(page);
    },

    async getStation(req, res) {
      const paired = await stationOfUid(ctx.db, req.params.uid);
      res.locals.subject = { cpo_id: paired.cpoId, pairing_id: paired.pairingId };
      res.json(writePairing(paired));
    },
  };
}

/** Writes a pairing in the format of the app's API. */
export function writePairing(paired: PairedStation): Schemas['Pairing'] {
  return {
    uid: paired.station.uid,
    user_id: paired.userId,
    charging_location_id: paired.chargingLocationId,
    cpo_id: paired.cpoId,
    payload_protocol: paired.payloadProtocol,
    paired_at: paired.pairedAt.toISOString(),
    ...storedProtocolOf(paired.payloadProtocol).write(paired.station),
  };
}
