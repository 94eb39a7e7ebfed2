import type { Response } from 'express';
import { v5 as uuidv5 } from 'uuid';
import { type Attempt, listAttempts, statusOf } from '../attempts/attempts';
import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract/document';
import type { Origin } from '../contract/trace-context';
import type { CpoClient } from '../cpos/client';
import { stillAllowed, unlessRefused } from '../http/client-disconnect';
import { FIRST_ID, idIn, LAST_ID, readPage } from '../http/pagination';
import { Problem } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { writePairing } from '../stations/http';
import { listOwnStations, type OwnStation, type PairedStation, stationOfPairing } from '../stations/stations';
import { type Caller, callerOf, cpoOf } from '../tokens/caller';
import { expiryWarning } from '../tokens/expiry';
import { REPLAYED, type Replay, type Reservation, readIdempotencyKey, withIdempotencyKey } from './idempotency';
import { limitsOf } from './limits';
import { createPair } from './pair';
import { createRedeem } from './redeem';
import { rejectIfForgotten } from './replay';
import { unpairByCpo, unpairForCustomer } from './unpair';

/** Derives the ids under which apps own Idempotency-Keys (a UUIDv5 namespace, RFC 9562). */
const APP_OWNER_NAMESPACE = '0c5bd5a2-6f6e-5d3c-9e39-1f5d0a4d4c1b';
const UNPAIRED = { message: 'Charging station successfully unpaired.' };

export function pairingHandlers(
  ctx: Context,
  client: CpoClient,
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
  const redeem = createRedeem(ctx, client);
  const handlePair = async (payloadProtocol: PayloadProtocol, body: StationBody & { code: string }, res: Response) => {
    const protocol = protocolOf(payloadProtocol);
    const station = protocol.read(body);
    const cpoId = cpoOf(res).id;
    const request = { cpoId, requestId: requestIdOf(res), payloadProtocol, code: body.code, station };
    const replay = await idempotently(ctx, res, cpoId, `/v1/scsp/${payloadProtocol}/pair`, (reservation) =>
      pair({ ...request, reservation }),
    );
    if (replay?.pairingId === null) await rejectIfForgotten(ctx, cpoId, body.code);
    if (replay?.forgotten) throw new Problem('incorrect-code', { headers: REPLAYED });
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
        token: { expires_at: expiresAt.toISOString(), warning: expiryWarning(expiresAt, ctx.listener.now()) },
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

    pairOcpp: (req, res) => handlePair(req.params['payload-protocol'], req.body, res),
    pairOcpi22: (req, res) => handlePair('ocpi2.2', req.body, res),
    pairOcpi221: (req, res) => handlePair('ocpi2.2.1', req.body, res),
    pairOcpi230: (req, res) => handlePair('ocpi2.3.0', req.body, res),

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
      let paired: PairedStation | undefined;
      const replay = await idempotently(ctx, res, ownerOf(callerOf(res)), '/v1/app/pairings', async (reservation) => {
        paired = await redeem({ ...request, reservation }).catch(unlessRefused(res));
      });
      if (replay?.forgotten) throw new Problem('user-forgotten', { headers: REPLAYED });
      paired ??= await stationOfPairing(ctx.db, replay?.pairingId ?? '');
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

/**
 * Runs `work` under the request's Idempotency-Key, or without one if the header is absent.
 * @returns the outcome to replay if an earlier request with this key succeeded
 */
async function idempotently(
  ctx: Context,
  res: Response,
  owner: string,
  path: string,
  work: (reservation?: Reservation) => Promise<void>,
): Promise<Replay | undefined> {
  const header = res.req.get('Idempotency-Key');
  if (header === undefined) return void (await work());
  const scope = { owner, path, key: readIdempotencyKey(header) };
  const replay = await withIdempotencyKey(ctx, scope, res.locals.bodyBytes, requestIdOf(res), work);
  if (replay !== undefined) res.set(REPLAYED);
  return replay;
}

/** Returns the id that owns an app's Idempotency-Keys. All tokens of the app share it. */
const ownerOf = ({ app }: Caller): string => uuidv5(`app ${app}`, APP_OWNER_NAMESPACE);

const requestIdOf = (res: Response): string => res.locals.requestId;

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
