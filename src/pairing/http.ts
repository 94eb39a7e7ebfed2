import type { Response } from 'express';
import { v5 as uuidv5 } from 'uuid';
import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import type { Origin } from '../contract/trace-context';
import type { CpoClient } from '../cpos/client';
import { disconnected, stillAllowed, unlessRefused } from '../http/client-disconnect';
import { FIRST_ID, idIn, readPage } from '../http/pagination';
import { Problem } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { writePairing } from '../stations/http';
import { listOwnStations, type OwnStation, type PairedStation, stationOfPairing } from '../stations/stations';
import { type Caller, callerOf, cpoOf, scopeOf } from '../tokens/caller';
import { expiryWarning } from '../tokens/expiry';
import { REPLAYED, type Replay, type Reservation, readIdempotencyKey, withIdempotencyKey } from './idempotency';
import { limitsOf } from './limits';
import { createPair, type Paired, StationAlreadyPaired } from './pair';
import type { PairRequest } from './pair-statement';
import { createRedeem } from './redeem';
import { unpairByCpo, unpairForCustomer } from './unpair';

/** Derives the ids under which apps own Idempotency-Keys (a UUIDv5 namespace, RFC 9562). */
const APP_OWNER_NAMESPACE = '0c5bd5a2-6f6e-5d3c-9e39-1f5d0a4d4c1b';
const UNPAIRED = { message: 'Charging station successfully unpaired.' };

/** Pairs, and may delay the response, send another one, or return members that replace or add to those of the response. */
export type PairAndAnswer = (
  request: PairRequest,
  res: Response,
) => Promise<{ readonly paired?: Paired; readonly members?: object | undefined }>;

/** @param pair replaced in a sandbox deployment, for test codes */
export function pairingHandlers(
  ctx: Context,
  client: CpoClient,
  pair: PairAndAnswer = plainPair(ctx),
): Pick<
  Handlers,
  | 'whoAmI'
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
  const redeem = createRedeem(ctx, client);
  const handlePair = async (payloadProtocol: PayloadProtocol, body: StationBody & { code: string }, res: Response) => {
    const protocol = protocolOf(payloadProtocol);
    const station = protocol.read(body);
    const cpoId = cpoOf(res).id;
    const scope = scopeOf(res);
    const request = {
      cpoId,
      origin: originOf(res),
      payloadProtocol,
      code: body.code,
      station,
      uidScope: scope,
      codeScope: scope,
    };
    let members: object | undefined;
    const replay = await idempotently(ctx, res, cpoId, `/v1/scsp/${payloadProtocol}/pair`, async (reservation) => {
      const answer = await pair({ ...request, reservation }, res).catch((error: unknown) => {
        if (error instanceof StationAlreadyPaired) res.locals.subject = { code_id: error.codeId };
        throw error;
      });
      members = answer.members;
      res.locals.subject = { pairing_id: answer.paired?.pairingId, code_id: answer.paired?.codeId };
    });
    res.locals.subject ??= { pairing_id: replay?.pairingId };
    if (disconnected(res) || res.headersSent) return;
    if (replay?.forgotten) throw new Problem('incorrect-code', { headers: REPLAYED });
    res.json({ message: 'Charging station successfully paired.', ...protocol.write(station), ...members });
  };
  const unpair = async (req: { params: { uid: string } }, res: Response) => {
    const { pairingId } = await unpairByCpo(ctx, cpoOf(res).id, req.params.uid, originOf(res), scopeOf(res));
    res.locals.subject = { pairing_id: pairingId };
    res.json(UNPAIRED);
  };

  return {
    async whoAmI(_req, res) {
      const { id, name, sandbox } = cpoOf(res);
      const { expiresAt } = callerOf(res);
      const limits = await limitsOf(ctx, id);
      res.json({
        cpo: { id, name },
        token: {
          expires_at: expiresAt.toISOString(),
          warning: sandbox ? undefined : expiryWarning(expiresAt, ctx.listener.now()),
        },
        limits: limits.map(({ windowSeconds, ...limit }) => ({ ...limit, window_seconds: windowSeconds })),
      });
    },

    async listOwnStations(req, res) {
      const page = await readPage(
        req.query,
        FIRST_ID,
        ({ pairingId }: OwnStation) => pairingId,
        (after, limit) => listOwnStations(ctx.db, ctx.config.sandbox, cpoOf(res).id, idIn(after), limit),
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
      res.locals.subject = { cpo_id: request.cpoId };
      const replay = await idempotently(ctx, res, ownerOf(callerOf(res)), '/v1/app/pairings', async (reservation) => {
        paired = await redeem({ ...request, reservation }).catch(unlessRefused(res));
      });
      if (replay?.forgotten) throw new Problem('user-forgotten', { headers: REPLAYED });
      paired ??= await stationOfPairing(ctx.db, replay?.pairingId ?? '');
      res.locals.subject.pairing_id = paired.pairingId;
      const location = `/v1/app/charging-stations/${encodeURIComponent(paired.station.uid)}`;
      res.status(201).location(location).json(writePairing(paired));
    },

    unpairChargingStation: unpair,
    unpairEvse: unpair,

    async unpairForCustomer(req, res) {
      const ended = await unpairForCustomer(ctx, req.params.uid, originOf(res), req.query.user_id);
      res.locals.subject = { cpo_id: ended.cpoId, pairing_id: ended.pairingId };
      res.json(UNPAIRED);
    },
  };
}

function plainPair(ctx: Context): PairAndAnswer {
  const pair = createPair(ctx);
  return async (request) => ({ paired: await pair(request) });
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
