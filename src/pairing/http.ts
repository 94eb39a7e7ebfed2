import type { Response } from 'express';
import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract';
import { FIRST_ID, idIn, LAST_ID, readPage } from '../page';
import { type PayloadProtocol, protocolOf, type StationBody } from '../protocols';
import { writePairing } from '../stations/http';
import { listOwnStations, type OwnStation } from '../stations/stations';
import { callerOf, cpoOf } from '../tokens/caller';
import { expiryWarning } from '../tokens/expiry';
import type { Origin } from '../trace-context';
import { stillAllowed, unlessRefused } from '../waiting';
import { type Attempt, listAttempts, statusOf } from './attempts';
import { doOnce, REPLAYED, readIdempotencyKey } from './idempotency';
import { limitsOf } from './limits';
import { createPair } from './pair';
import { createRedeem } from './redeem';
import { refuseForgotten } from './replay';
import { unpairByCpo, unpairForCustomer } from './unpair';

const UNPAIRED = { message: 'Charging station successfully unpaired.' };

export function pairingHandlers(
  ctx: Context,
): Pick<
  Handlers,
  | 'whoAmI'
  | 'listAttempts'
  | 'listOwnStations'
  | 'pairOcpp'
  | 'pairOcpi22'
  | 'pairOcpi221'
  | 'pairOcpi230'
  | 'redeemCode'
  | 'unpairChargingStation'
  | 'unpairEvse'
  | 'unpairForCustomer'
> {
  const pair = createPair(ctx);
  const redeem = createRedeem(ctx);
  const pairIn = async (payloadProtocol: PayloadProtocol, body: StationBody & { code: string }, res: Response) => {
    const protocol = protocolOf(payloadProtocol);
    const station = protocol.read(body);
    const cpoId = cpoOf(res).id;
    const requestId: string = res.locals.requestId;
    const header = res.req.get('Idempotency-Key');
    const scope = header && {
      cpoId,
      path: `/v1/scsp/${payloadProtocol}/pair`,
      key: readIdempotencyKey(header),
    };
    const pairOnce = () =>
      pair({ cpoId, requestId, payloadProtocol, code: body.code, station, idempotency: scope || undefined });
    if (scope) {
      const before = await doOnce(ctx, scope, res.locals.bodyBytes, requestId, pairOnce);
      if (before) {
        await refuseForgotten(ctx, cpoId, body.code);
        res.set(REPLAYED);
      }
    } else await pairOnce();
    res.json({ message: 'Charging station successfully paired.', ...protocol.write(station) });
  };
  const unpair = async (req: { params: { uid: string } }, res: Response) => {
    await unpairByCpo(ctx, cpoOf(res).id, req.params.uid);
    res.json(UNPAIRED);
  };

  return {
    async whoAmI(_req, res) {
      const { id, name } = cpoOf(res);
      const { expiresAt } = callerOf(res);
      const limits = await limitsOf(ctx, id);
      res.json({
        cpo: { id, name },
        token: { expires_at: expiresAt.toISOString(), warning: expiryWarning(expiresAt, ctx.bell.now()) },
        limits: limits.map(({ windowSeconds, ...limit }) => ({ ...limit, window_seconds: windowSeconds })),
      });
    },

    async listAttempts(req, res) {
      const page = await readPage(
        req.query,
        LAST_ID,
        ({ id }) => id,
        (before, limit) => listAttempts(ctx.db, cpoOf(res).id, idIn(before), limit),
        writeAttempt,
      );
      res.json(page);
    },

    async listOwnStations(req, res) {
      const page = await readPage(
        req.query,
        FIRST_ID,
        ({ pairingId }: OwnStation) => pairingId,
        (after, limit) => listOwnStations(ctx.db, cpoOf(res).id, idIn(after), limit),
        ({ uid, payloadProtocol, pairedAt }) => ({
          uid,
          payload_protocol: payloadProtocol,
          paired_at: pairedAt.toISOString(),
        }),
      );
      res.json(page);
    },

    pairOcpp: (req, res) => pairIn(req.params['payload-protocol'], req.body, res),
    pairOcpi22: (req, res) => pairIn('ocpi2.2', req.body, res),
    pairOcpi221: (req, res) => pairIn('ocpi2.2.1', req.body, res),
    pairOcpi230: (req, res) => pairIn('ocpi2.3.0', req.body, res),

    async redeemCode({ body }, res) {
      const request = {
        userId: body.user_id,
        chargingLocationId: body.charging_location_id,
        cpoId: body.cpo_id,
        payloadProtocol: body.payload_protocol,
        code: body.code,
        origin: originOf(res),
        stillAllowed: () => stillAllowed(res),
      };
      const paired = await redeem(request).catch(unlessRefused(res));
      const location = `/v1/app/charging-stations/${encodeURIComponent(paired.station.uid)}`;
      res.status(201).location(location).json(writePairing(paired));
    },

    unpairChargingStation: unpair,
    unpairEvse: unpair,

    async unpairForCustomer(req, res) {
      await unpairForCustomer(ctx, req.params.uid, originOf(res), req.query.user_id);
      res.json(UNPAIRED);
    },
  };
}

const originOf = (res: Response): Origin => res.locals.origin;

function writeAttempt(attempt: Attempt): Schemas['Attempt'] {
  return {
    id: attempt.id,
    attempted_at: attempt.attemptedAt.toISOString(),
    request_id: attempt.requestId,
    payload_protocol: attempt.payloadProtocol,
    uid: attempt.uid ?? undefined,
    outcome: attempt.outcome,
    status: statusOf(attempt),
    detail: attempt.detail ?? undefined,
  };
}
