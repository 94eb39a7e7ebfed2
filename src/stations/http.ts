import type { Schemas } from '../contract';
import { protocols } from '../protocols';
import type { PairedStation } from './stations';

/** A pairing as the app sees it. */
export function writePairing(paired: PairedStation): Schemas['Pairing'] {
  const protocol = protocols[paired.payloadProtocol as keyof typeof protocols];
  return {
    uid: paired.station.uid,
    user_id: paired.userId,
    charging_location_id: paired.chargingLocationId,
    cpo_id: paired.cpoId,
    payload_protocol: paired.payloadProtocol,
    paired_at: paired.pairedAt.toISOString(),
    [protocol.member]: protocol.write(paired.station),
  };
}
