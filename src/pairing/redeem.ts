import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import type { CpoClient } from '../cpos/client';
import { type CallableCpo, callableCpo } from '../cpos/cpos';
import { hashSubject } from '../crypto/keys';
import { ADVISORY_LOCKS } from '../db/locks';
import { rows, transaction } from '../db/query';
import { enqueueUnpaired } from '../outbox/outbox';
import { Problem } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { stationKey } from '../stations/station';
import type { PairedStation } from '../stations/stations';
import { inProgress, type Reservation, storeIncorrectCode } from './idempotency';
import { stationRows } from './station-rows';

export type RedeemRequest = {
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly cpoId: string;
  readonly payloadProtocol: PayloadProtocol;
  /** As the customer typed it. */
  readonly code: string;
  readonly origin: Origin;
  /** Of an Idempotency-Key, under which the outcome is stored. */
  readonly reservation?: Reservation | undefined;
  /** Throws when the caller's token was revoked while the CPO was asked. */
  readonly stillAllowed: () => Promise<void>;
};

/** Redemptions in flight in this process: more at a CPO that is slow would keep memory and connections from all others. */
const IN_FLIGHT_PER_CPO = 64;
const RETRY_AFTER_SECONDS = '2';
/** Longer than a statement lives whose answer was lost: until then nobody knows whether it has paired. */
const UNCERTAIN_SECONDS = 10;
const NOTHING_BUT_SPACE = /^[\s\p{Cf}]*$/u;

const WINDOW = `interval '10 minutes'`;

/**
 * Begins an attempt, or tells the limit that is reached and the seconds until the oldest attempt that fills it leaves the
 * window. One under way counts as incorrect until it has ended.
 */
const BEGIN = `
with recent as materialized (
  select began_at, outcome from redemption_attempts where user_hash = $2 and began_at > now() - ${WINDOW}
), incorrect as (
  select began_at from recent where outcome is null or outcome = 'incorrect-code' order by began_at desc limit $3
), calls as (
  select began_at from recent order by began_at desc limit $4
), reached as (
  select 'too-many-incorrect-codes' as problem, min(began_at) as oldest from incorrect having count(*) >= $3
  union all
  select 'too-many-redemptions', min(began_at) from calls having count(*) >= $4
), begun as (
  insert into redemption_attempts (id, user_hash) select $1, $2 where not exists (select from reached)
)
select problem, greatest(1, ceil(extract(epoch from oldest + ${WINDOW} - now())))::int as "retryAfter"
from reached order by problem`;

/** Why an attempt ended. `forgotten` is written by whoever forgets the user (`pairing/unpair`). */
type Ending = 'answered' | 'incorrect-code' | 'failed';

const END = `
with ended as (
  update redemption_attempts set outcome = $2 where id = $1 and outcome is null returning 1
)
select count(*) from ended`;

const REDEEM = 'select outcome, paired_at as "pairedAt" from scsp_redeem_v1($1, $2, $3)';

type Stored =
  | { readonly outcome: 'paired'; readonly pairedAt: Date }
  | { readonly outcome: 'station-already-paired' | 'user-forgotten' | 'reservation-lost'; readonly pairedAt: null };

/**
 * Pairs with a code that a CPO issued (contract, section 5): asks the CPO, checks its station, stores it. No connection
 * of the database is held during the call. A CPO that paired a station which is not stored is notified of an unpair.
 * @returns a verb that throws Problem `invalid-request`, `cpo-unavailable`, `too-many-incorrect-codes`,
 *   `too-many-redemptions`, `incorrect-code`, `user-forgotten`, `station-already-paired`, `cpo-failed`,
 *   `cpo-timed-out`, `unavailable`
 */
export function createRedeem(ctx: Context, client: CpoClient): (request: RedeemRequest) => Promise<PairedStation> {
  const inFlight = new Map<string, number>();
  const redeemOne = async (request: RedeemRequest) => {
    const cpo = await callableCpo(ctx, request.cpoId, request.payloadProtocol);
    if (NOTHING_BUT_SPACE.test(request.code)) throw new Problem('incorrect-code');
    const others = inFlight.get(cpo.id) ?? 0;
    if (others >= IN_FLIGHT_PER_CPO)
      throw new Problem('unavailable', {
        message: 'Too many codes of this CPO are being redeemed, please try again.',
        headers: { 'Retry-After': RETRY_AFTER_SECONDS },
      });
    inFlight.set(cpo.id, others + 1);
    try {
      return await redeem(ctx, client, cpo, request);
    } finally {
      const left = (inFlight.get(cpo.id) ?? 1) - 1;
      if (left > 0) inFlight.set(cpo.id, left);
      else inFlight.delete(cpo.id);
    }
  };
  return async (request) => {
    try {
      return await redeemOne(request);
    } catch (error) {
      // What cannot be stored stays in progress until the lease ends; the caller is told how it went.
      if (request.reservation !== undefined && error instanceof Problem && error.type === 'incorrect-code')
        await storeIncorrectCode(ctx, request.reservation).catch(() => undefined);
      throw error;
    }
  };
}

async function redeem(
  ctx: Context,
  client: CpoClient,
  cpo: CallableCpo,
  request: RedeemRequest,
): Promise<PairedStation> {
  const { payloadProtocol, origin } = request;
  const user = hashSubject(ctx.keys, 'user', request.userId);
  const attempt = await beginAttempt(ctx, user);
  const caller = { origin, user: user.toString('hex') };
  const answer = await client
    .askStation(cpo, payloadProtocol, request.code.trim(), caller)
    .catch(async (error: unknown) => {
      // What cannot be written stays under way for ten minutes; the caller is told how the call went.
      await endAttempt(ctx, attempt, error).catch(() => undefined);
      throw error;
    });
  if ('body' in answer) return store(ctx, attempt, request, answer.body);
  await takeBack(ctx, request, answer.uid);
  await endAttempt(ctx, attempt, answer.refused).catch(() => undefined);
  throw answer.refused;
}

async function store(ctx: Context, attempt: string, request: RedeemRequest, body: StationBody): Promise<PairedStation> {
  const { userId, chargingLocationId, cpoId, payloadProtocol } = request;
  const station = protocolOf(payloadProtocol).read(body);
  await request.stillAllowed().catch(async (error: unknown) => {
    await takeBack(ctx, request, station.uid);
    await endAttempt(ctx, attempt, error).catch(() => undefined);
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
    station_uid: stationKey(station.uid),
    idempotency_owner: request.reservation?.owner,
    idempotency_path: request.reservation?.path,
    idempotency_key: request.reservation?.key,
    reservation: request.reservation?.id,
  };
  const { evses, connectors } = stationRows(pairingId, station);
  const [stored] = await rows<Stored>(
    ctx.db,
    REDEEM,
    [row, evses, connectors].map((part) => JSON.stringify(part)),
  ).catch((error: unknown) => {
    // Not waited for: a database that is away has taken its time already.
    void takeBack(ctx, request, station.uid, UNCERTAIN_SECONDS);
    throw error;
  });
  if (stored === undefined) throw new TypeError('scsp_redeem_v1 returned no row');
  if (stored.outcome !== 'paired') {
    await takeBack(ctx, request, station.uid);
    throw stored.outcome === 'reservation-lost' ? inProgress(1) : new Problem(stored.outcome);
  }
  ctx.metrics.stationPaired({ pairing_id: pairingId, cpo_id: cpoId, payload_protocol: payloadProtocol });
  const { pairedAt } = stored;
  return { pairingId, cpoId, userId, chargingLocationId, payloadProtocol, station, pairedAt };
}

/** Has the CPO notified of an unpair of what it has paired and we have not, unless the uid is paired there by now. */
async function takeBack(ctx: Context, request: RedeemRequest, uid: string | undefined, delaySeconds = 0) {
  if (uid === undefined) return;
  const { cpoId, payloadProtocol, origin } = request;
  await enqueueUnpaired(ctx.db, { cpoId, payloadProtocol, uid }, origin, delaySeconds).catch((error: unknown) =>
    ctx.metrics.notificationNotStored(cpoId, origin, error instanceof Error ? error.message : String(error)),
  );
}

/** Counts an attempt before its call; a crash in the middle leaves it under way for ten minutes. */
function beginAttempt(ctx: Context, user: Buffer): Promise<string> {
  const id = ctx.random.uuid();
  const { user10Min, userCalls10Min } = ctx.config.limits;
  return transaction(ctx.db, async (tx) => {
    await rows(tx, 'select pg_advisory_xact_lock($1, hashtext($2))', [ADVISORY_LOCKS.redemption, user.toString('hex')]);
    const [reached] = await rows<{ problem: 'too-many-incorrect-codes' | 'too-many-redemptions'; retryAfter: number }>(
      tx,
      BEGIN,
      [id, user, user10Min, userCalls10Min],
    );
    if (reached === undefined) return id;
    throw new Problem(reached.problem, { headers: { 'Retry-After': String(reached.retryAfter) } });
  });
}

/** An attempt for which nobody was called (the circuit is open) is none. */
async function endAttempt(ctx: Context, id: string, error: unknown): Promise<void> {
  const type = error instanceof Problem ? error.type : undefined;
  if (type === 'unavailable') {
    await rows(ctx.db, 'delete from redemption_attempts where id = $1 and outcome is null', [id]);
    return;
  }
  const ending: Ending = type === 'incorrect-code' ? type : 'failed';
  await rows(ctx.db, END, [id, ending]);
}
