import type { Context } from '../context';
import { askStation } from '../cpos/client';
import { callableCpo } from '../cpos/cpos';
import { rows, transaction } from '../db/database';
import { Problem } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import { stationKey } from '../stations/station';
import type { PairedStation } from '../stations/stations';
import { evseRows, STORE } from './store';

export type RedeemRequest = {
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly cpoId: string;
  readonly payloadProtocol: PayloadProtocol;
  /** As the customer typed it. */
  readonly code: string;
};

const WINDOW = `interval '10 minutes'`;
/** One try of a user at a time passes the counter, so that simultaneous ones never get past the limit. */
const USER_LOCK = 7_305_004;

/** Seconds until the oldest try that fills the limit leaves the window, or the reserved try. */
const RESERVE = `
with recent as (
  select tried_at from redemptions where user_id = $2 and tried_at > now() - ${WINDOW}
  order by tried_at desc limit $3
), spent as (
  select min(tried_at) as oldest from recent having count(*) >= $3
), reserved as (
  insert into redemptions (id, user_id) select $1, $2 where not exists (select from spent)
)
select ceil(extract(epoch from oldest + ${WINDOW} - now()))::int as "retryAfter" from spent`;

const REDEEM = `
with request as materialized (
  select * from jsonb_to_record($1::jsonb) as r (
    pairing_id uuid, event_id uuid, cpo_id uuid, user_id text, charging_location_id text,
    payload_protocol text, uid text, station_uid text, evses jsonb)
), paired as (
  insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
  select pairing_id, cpo_id, station_uid, user_id, charging_location_id from request
  on conflict do nothing
  returning id, code_id, cpo_id, paired_at
), ${STORE}
select paired_at as "pairedAt" from paired`;

/**
 * Pairs with a code that a CPO issued (contract, section 5): asks the CPO, checks its station, stores it. No
 * connection of the database is held while the CPO thinks.
 * @param stillAllowed throws when the caller's token was revoked meanwhile
 * @throws Problem `invalid-request`, `cpo-unavailable`, `too-many-incorrect-codes`, `incorrect-code`,
 *   `station-already-paired`, `cpo-failed`, `cpo-timed-out`, `unavailable`
 */
export async function redeem(
  ctx: Context,
  request: RedeemRequest,
  stillAllowed: () => Promise<void>,
): Promise<PairedStation> {
  const { userId, chargingLocationId, cpoId, payloadProtocol } = request;
  const cpo = await callableCpo(ctx, cpoId);
  const attempt = await reserveTry(ctx, userId);
  const body = await askStation(ctx, cpo, payloadProtocol, request.code.trim()).catch(async (error: unknown) => {
    // A wrong code stays counted; whatever else went wrong was not the user's guess.
    if (!(error instanceof Problem && error.type === 'incorrect-code')) await releaseTry(ctx, attempt);
    throw error;
  });
  await releaseTry(ctx, attempt);

  const station = protocolOf(payloadProtocol).read(body);
  const row = {
    pairing_id: ctx.chance.uuid(),
    event_id: ctx.chance.uuid(),
    cpo_id: cpoId,
    user_id: userId,
    charging_location_id: chargingLocationId,
    payload_protocol: payloadProtocol,
    uid: station.uid,
    station_uid: stationKey(station.uid),
    evses: evseRows(station),
  };
  await stillAllowed();
  const [paired] = await rows<{ pairedAt: Date }>(ctx.db, REDEEM, [JSON.stringify(row)]);
  if (paired === undefined) throw new Problem('station-already-paired');
  const { pairing_id } = row;
  ctx.events.stationPaired({ pairing_id, cpo_id: cpoId, payload_protocol: payloadProtocol });
  return { pairingId: pairing_id, cpoId, userId, chargingLocationId, payloadProtocol, station, ...paired };
}

/** Counts a try before it is made; a crash in the middle leaves it counted for ten minutes. */
function reserveTry(ctx: Context, userId: string): Promise<string> {
  const id = ctx.chance.uuid();
  return transaction(ctx.db, async (tx) => {
    await rows(tx, 'select pg_advisory_xact_lock($1, hashtext($2))', [USER_LOCK, userId]);
    const [spent] = await rows<{ retryAfter: number }>(tx, RESERVE, [id, userId, ctx.config.limits.user10Min]);
    if (spent === undefined) return id;
    throw new Problem('too-many-incorrect-codes', {
      headers: { 'Retry-After': String(Math.max(1, spent.retryAfter)) },
    });
  });
}

async function releaseTry(ctx: Context, id: string): Promise<void> {
  await rows(ctx.db, 'delete from redemptions where id = $1', [id]);
}
