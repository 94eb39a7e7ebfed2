import type { Context } from '../context';
import type { Handlers } from '../contract';
import { protocols } from '../protocols';
import { cpoOf } from '../tokens/caller';
import { pair } from './pair';

export function pairingHandlers(ctx: Context): Pick<Handlers, 'pairOcpp'> {
  return {
    async pairOcpp(req, res) {
      const payloadProtocol = req.params['payload-protocol'];
      const protocol = protocols[payloadProtocol];
      const station = protocol.read(req.body.charging_station);
      await pair(ctx, { cpoId: cpoOf(res).id, payloadProtocol, code: req.body.code, station });
      res.json({ message: 'Charging station successfully paired.', charging_station: protocol.write(station) });
    },
  };
}
