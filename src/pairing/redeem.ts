import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { type Origin, storedTrace } from '../contract/trace-context';
import type { CpoClient } from '../cpos/client';
import { type CallableCpo, callableCpo } from '../cpos/cpos';
import { hashSubject } from '../crypto/keys';
import { rows } from '../db/query';
import { Counts } from '../delivery/counts';
import { Problem } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { stationKey } from '../stations/station';
import type { PairedStation } from '../stations/stations';
import { compensate } from './compensate';
import { inProgress, type Reservation, storeIncorrectCode } from './idempotency';
import { beginAttempt, endAttempt } from './redemption-attempts';
import { stationRows } from './station-rows';

export type RedeemRequest = {
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly cpoId: string;
  readonly payloadProtocol: PayloadProtocol;
  /** As the customer typed it. */
  readonly code: string;
  readonly origin: Origin;
  /** The outcome is stored under this reservation. */
  readonly reservation?: Reservation | undefined;
  /** Throws if the caller's token was revoked during the call to the CPO. */
  readonly stillAllowed: () => Promise<void>;
};

/** Limits redemptions per CPO in this process, so that one slow CPO cannot exhaust memory and sockets. */
const MAX_IN_FLIGHT_PER_CPO = 64;
const RETRY_AFTER_SECONDS = '2';
/** How long a caller waits for what is written after a redemption has failed: the database may be unavailable. */
const WRITE_WAIT_MS = 1_000;
/** Delays the notification while the commit's outcome is unknown: longer than a statement can run. */
const COMMIT_UNKNOWN_SECONDS = 10;
/** Not sent to the CPO. */
export const BLANK_CODE = /^[\s\p{Cf}]*$/u;

const REDEEM = 'select outcome, paired_at as "pairedAt" from scsp_redeem_v3($1, $2, $3)';

type Stored =
  | { readonly outcome: 'paired'; readonly pairedAt: Date }
  | { readonly outcome: 'station-already-paired' | 'user-forgotten' | 'reservation-lost'; readonly pairedAt: null };

/**
 * Creates the function that redeems a CPO-issued code (contract, section 5). No database connection is held during the
 * call to the CPO. If the CPO paired a station that is not stored here, it is notified of an unpair.
 * @returns a function that throws Problem `invalid-request`, `cpo-unavailable`, `too-many-incorrect-codes`,
 *   `too-many-redemptions`, `incorrect-code`, `user-forgotten`, `station-already-paired`, `cpo-failed`,
 *   `cpo-timed-out`, `idempotency-in-progress`, `unavailable`, or what `stillAllowed` throws
 */
export function createRedeem(ctx: Context, client: CpoClient): (request: RedeemRequest) => Promise<PairedStation> {
  const inFlight = new Counts();
  const redeemOne = async (request: RedeemRequest) => {
    // Before anything is counted by CPO: an app can name one that does not exist.
    const cpo = await callableCpo(ctx, request.cpoId, request.payloadProtocol);
    try {
      if (BLANK_CODE.test(request.code)) throw new Problem('incorrect-code');
      if (inFlight.of(cpo.id) >= MAX_IN_FLIGHT_PER_CPO) throw tooMany(ctx);
      return await inFlight.during(cpo.id, () => redeem(ctx, client, cpo, request));
    } catch (error) {
      const fields = { cpo_id: cpo.id, payload_protocol: request.payloadProtocol };
      if (error instanceof Problem) ctx.metrics.redemptionRefused(error.type, fields, request.origin);
      throw error;
    }
  };
  return async (request) => {
    try {
      return await redeemOne(request);
    } catch (error) {
      // If this fails, the key stays in progress until its lease expires. The caller still gets the original problem.
      if (request.reservation !== undefined && error instanceof Problem && error.type === 'incorrect-code')
        await briefly(storeIncorrectCode(ctx, request.reservation));
      throw error;
    }
  };
}

function tooMany(ctx: Context): Problem {
  ctx.metrics.requestShed('redemptions');
  return new Problem('unavailable', {
    message: 'Too many codes of this CPO are being redeemed, please try again.',
    headers: { 'Retry-After': RETRY_AFTER_SECONDS },
  });
}

async function redeem(
  ctx: Context,
  client: CpoClient,
  cpo: CallableCpo,
  request: RedeemRequest,
): Promise<PairedStation> {
  const { payloadProtocol, origin } = request;
  const attempt = await beginAttempt(ctx, request.userId);
  const caller = { origin, user: hashSubject(ctx.keys, 'user', request.userId).toString('hex') };
  const response = await client
    .askStation(cpo, payloadProtocol, request.code.trim(), caller)
    .catch(async (error: unknown) => {
      // If this fails, the attempt counts as in progress for ten minutes. The caller still gets the original error.
      await briefly(endAttempt(ctx, attempt, error));
      throw error;
    });
  if ('body' in response) {
    const { userId, chargingLocationId, cpoId } = request;
    const stored = await storeStation(ctx, attempt, request, response.body);
    return { ...stored, cpoId, userId, chargingLocationId, payloadProtocol };
  }
  await briefly(compensate(ctx, request, response.uid), endAttempt(ctx, attempt, response.refused));
  throw response.refused;
}

/** A redemption that the CPO has answered. Users and locations are null for the test customer of a CPO in a sandbox deployment. */
export type AnsweredRedemption = Omit<RedeemRequest, 'userId' | 'chargingLocationId' | 'code'> & {
  readonly userId: string | null;
  readonly chargingLocationId: string | null;
  /** The id of the CPO within which the uid is unique. Undefined: among all CPOs. */
  readonly uidScope?: string | undefined;
};

/**
 * Stores the station that a CPO returned. If that fails, the CPO is notified of an unpair.
 * @param attempt the id of a redemption attempt in progress
 * @throws Problem `station-already-paired`, `user-forgotten`, `idempotency-in-progress`, `unavailable`, or what `stillAllowed`
 *   throws
 */
export async function storeStation(
  ctx: Context,
  attempt: string,
  request: AnsweredRedemption,
  body: StationBody,
): Promise<Pick<PairedStation, 'pairingId' | 'station' | 'pairedAt'>> {
  const { userId, chargingLocationId, cpoId, payloadProtocol } = request;
  const station = protocolOf(payloadProtocol).read(body);
  await request.stillAllowed().catch(async (error: unknown) => {
    // The CPO was called, so the attempt counts, even if the token could not be checked.
    await briefly(compensate(ctx, request, station.uid), endAttempt(ctx, attempt, undefined));
    throw error;
  });
  const pairingId = ctx.random.uuid();
  const row = {
    pairing_id: pairingId,
    event_id: ctx.random.uuid(),
    attempt_id: attempt,
    cpo_id: cpoId,
    user_id: userId,
    charging_location_id: chargingLocationId,
    payload_protocol: payloadProtocol,
    uid: station.uid,
    station_uid: stationKey(station.uid, request.uidScope),
    idempotency_owner: request.reservation?.owner,
    idempotency_path: request.reservation?.path,
    idempotency_key: request.reservation?.key,
    reservation: request.reservation?.id,
    traceparent: storedTrace(request.origin),
  };
  const { evses, connectors } = stationRows(pairingId, station);
  const [stored] = await rows<Stored>(
    ctx.db,
    REDEEM,
    [row, evses, connectors].map((part) => JSON.stringify(part)),
  ).catch((error: unknown) => {
    // Not awaited: a database that is unavailable has already used up the caller's time.
    void compensate(ctx, request, station.uid, COMMIT_UNKNOWN_SECONDS);
    throw error;
  });
  if (stored === undefined) throw new TypeError('scsp_redeem_v3 returned no row');
  if (stored.outcome !== 'paired') {
    await briefly(compensate(ctx, request, station.uid));
    throw stored.outcome === 'reservation-lost' ? inProgress(1) : new Problem(stored.outcome);
  }
  const ids = { pairing_id: pairingId, cpo_id: cpoId };
  ctx.metrics.stationPaired({ ...ids, payload_protocol: payloadProtocol }, request.origin);
  return { pairingId, station, pairedAt: stored.pairedAt };
}

/** Waits for writes whose failure changes no answer, but not for long. */
async function briefly(...writes: readonly Promise<unknown>[]): Promise<void> {
  await Promise.race([Promise.allSettled(writes), sleep(WRITE_WAIT_MS, undefined, { ref: false })]);
}
