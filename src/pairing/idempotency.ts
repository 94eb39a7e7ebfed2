import { createHmac } from 'node:crypto';
import type { Context } from '../context';
import { rows } from '../db/query';
import { Problem } from '../problems';

/** Identifies an Idempotency-Key: keys are unique per owner and path (contract, section 3). */
export type IdempotencyScope = {
  /** The id of a CPO, or the UUID derived from an app's name. */
  readonly owner: string;
  readonly path: string;
  readonly key: string;
};

/** Identifies a key reserved by one request. Only the holder of `id` can store an outcome under the key. */
export type Reservation = IdempotencyScope & { readonly id: string };

/** Describes the stored outcome of an earlier request that paired a station. */
export type Replay = {
  readonly pairingId: string;
  /** Whether the pairing's user has been forgotten since. */
  readonly forgotten: boolean;
};

/**
 * Limits how long a request may hold a key, in seconds: longer than the longest request, including 10 s for the CPO's
 * response. A request that outlives its lease finds its reservation replaced and changes nothing.
 */
export const LEASE_SECONDS = 30;

/** How long a stored outcome is replayed. */
export const KEEP_HOURS = 24;

const RESERVE = `
with reserved as (
  insert into idempotency_keys as i (cpo_id, path, key, body_hash, lease_until, request_id, reservation)
  values ($1, $2, $3, ($4::bytea[])[1], now() + make_interval(secs => ${LEASE_SECONDS}), $5, $6)
  on conflict (cpo_id, path, key) do update
  set body_hash = excluded.body_hash, lease_until = excluded.lease_until, request_id = excluded.request_id,
    reservation = excluded.reservation, created_at = now(), outcome = null, pairing_id = null
  where i.created_at < now() - interval '${KEEP_HOURS} hours'
    or (i.outcome is null and i.lease_until < now() and i.body_hash = any ($4))
  returning key
)
select exists (select from reserved) as reserved, i.key is not null as found, i.body_hash = any ($4) as "sameBody",
  i.outcome, i.request_id as "requestId", i.pairing_id as "pairingId",
  -- A pairing with the test customer of a sandbox deployment has no user either, but a uid.
  i.pairing_id is not null and p.user_id is null and p.station_uid is null as forgotten,
  greatest(1, ceil(extract(epoch from i.lease_until - now())))::int as "retryAfter"
from (select) one
left join idempotency_keys i on i.cpo_id = $1 and i.path = $2 and i.key = $3
left join pairings p on p.id = i.pairing_id`;

type StoredKey = {
  reserved: boolean;
  found: boolean;
  sameBody: boolean | null;
  requestId: string | null;
  forgotten: boolean;
  retryAfter: number | null;
} & ({ outcome: 'paired'; pairingId: string } | { outcome: StoredProblem | null; pairingId: null });

/** Lists the problems that are stored and replayed, in addition to the successful response. */
const STORED_PROBLEMS = ['incorrect-code', 'station-already-paired'] as const;
type StoredProblem = (typeof STORED_PROBLEMS)[number];

/** Returns the stored form of a key: without the quotes of a structured-field string (RFC 8941). */
export function readIdempotencyKey(header: string): string {
  return header.startsWith('"') ? header.slice(1, -1) : header;
}

/**
 * Reserves a key and runs `work`, which stores the outcome in its own commit, or returns that of an earlier request.
 * @param body the raw request body; only its keyed hash is stored, because it contains a pairing code
 * @returns the outcome to replay, or undefined if `work` ran
 * @throws Problem `idempotency-key-reused`, `idempotency-in-progress`, the stored problem, or anything `work` throws
 */
export async function withIdempotencyKey(
  ctx: Context,
  scope: IdempotencyScope,
  body: Uint8Array,
  requestId: string,
  work: (reservation: Reservation) => Promise<void>,
): Promise<Replay | undefined> {
  const reservation = { ...scope, id: ctx.random.uuid() };
  const replay = await reserve(ctx, reservation, body, requestId);
  if (replay !== undefined) return replay;
  try {
    await work(reservation);
    return undefined;
  } catch (error) {
    // After `unavailable` the transaction may still have committed: keep the key reserved until the lease expires.
    const type = error instanceof Problem ? error.type : 'unavailable';
    if (!isStored(type) && type !== 'unavailable') await release(ctx, reservation);
    throw error;
  }
}

const isStored = (type: string): type is StoredProblem => STORED_PROBLEMS.some((stored) => stored === type);

async function reserve(
  ctx: Context,
  { owner, path, key, id }: Reservation,
  body: Uint8Array,
  requestId: string,
): Promise<Replay | undefined> {
  const hashes = ctx.keys.idempotency.map((secret) => createHmac('sha256', secret).update(body).digest());
  const [found] = await rows<StoredKey>(ctx.db, RESERVE, [owner, path, key, hashes, requestId, id]);
  if (found?.reserved) return undefined;
  // A concurrent request has just reserved the key, so its row is not visible to this snapshot.
  if (!found?.found) throw inProgress(1);
  if (!found.sameBody) throw new Problem('idempotency-key-reused');
  const { outcome, pairingId, forgotten } = found;
  if (outcome === null) throw inProgress(found.retryAfter ?? 1);
  if (outcome === 'paired') return { pairingId, forgotten };
  throw new Problem(outcome, {
    headers: REPLAYED,
    ...(found.requestId !== null && { requestId: found.requestId }),
  });
}

/** Marks a replayed response. */
export const REPLAYED = { 'Idempotent-Replayed': 'true' };

/** @param seconds value of `Retry-After` */
export const inProgress = (seconds: number) =>
  new Problem('idempotency-in-progress', { headers: { 'Retry-After': String(seconds) } });

const HELD_RESERVATION = 'cpo_id = $1 and path = $2 and key = $3 and reservation = $4 and outcome is null';

/** Stores the outcome `incorrect-code` under a key, for requests that end before the statement that would store it. */
export async function storeIncorrectCode(ctx: Pick<Context, 'db'>, { owner, path, key, id }: Reservation) {
  const sql = `update idempotency_keys set outcome = 'incorrect-code' where ${HELD_RESERVATION} returning key`;
  await rows(ctx.db, `with stored as (${sql}) select key from stored`, [owner, path, key, id]);
}

/** Releases a key after a response that is not stored. */
export async function release(ctx: Pick<Context, 'db'>, { owner, path, key, id }: Reservation): Promise<void> {
  const sql = `delete from idempotency_keys where ${HELD_RESERVATION} returning key`;
  await rows(ctx.db, `with released as (${sql}) select key from released`, [owner, path, key, id]);
}
