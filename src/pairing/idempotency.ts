import { createHmac } from 'node:crypto';
import type { Context } from '../context';
import { rows } from '../db/query';
import { Problem } from '../problems';

/** Where an Idempotency-Key counts (contract, section 3). */
export type IdempotencyScope = {
  /** The id of a CPO, or one that stands for an app. */
  readonly owner: string;
  readonly path: string;
  readonly key: string;
};

/** A key that a request holds: nothing but this request can store its outcome under it. */
export type Reservation = IdempotencyScope & { readonly id: string };

/** An earlier request under the key has paired. */
export type Replay = {
  /** Null where a replica of 0.1 has stored the outcome. */
  readonly pairingId: string | null;
  /** Whether the user of the pairing was forgotten since. */
  readonly forgotten: boolean;
};

/**
 * When a request is taken for dead that holds a key: longer than the longest request lasts, a CPO's 10 s included. One that is
 * later all the same finds its reservation replaced, and does nothing.
 */
export const LEASE_SECONDS = 30;

const RESERVE = `
with reserved as (
  insert into idempotency_keys as i (cpo_id, path, key, body_hash, lease_until, request_id, reservation)
  values ($1, $2, $3, ($4::bytea[])[1], now() + make_interval(secs => ${LEASE_SECONDS}), $5, $6)
  on conflict (cpo_id, path, key) do update
  set body_hash = excluded.body_hash, lease_until = excluded.lease_until, request_id = excluded.request_id,
    reservation = excluded.reservation, created_at = now(), outcome = null, pairing_id = null
  where i.created_at < now() - interval '24 hours'
    or (i.outcome is null and i.lease_until < now() and i.body_hash = any ($4))
  returning key
)
select exists (select from reserved) as reserved, i.key is not null as found, i.body_hash = any ($4) as "sameBody",
  i.outcome, i.request_id as "requestId", i.pairing_id as "pairingId",
  i.pairing_id is not null and p.user_id is null as forgotten,
  greatest(1, ceil(extract(epoch from i.lease_until - now())))::int as "retryAfter"
from (select) one
left join idempotency_keys i on i.cpo_id = $1 and i.path = $2 and i.key = $3
left join pairings p on p.id = i.pairing_id`;

type Found = {
  reserved: boolean;
  found: boolean;
  sameBody: boolean | null;
  outcome: 'paired' | StoredProblem | null;
  requestId: string | null;
  pairingId: string | null;
  forgotten: boolean;
  retryAfter: number | null;
};

/** Responses that are stored beside the successful one. */
const STORED_PROBLEMS = ['incorrect-code', 'station-already-paired'] as const;
type StoredProblem = (typeof STORED_PROBLEMS)[number];

/** Returns a key as it is stored, without the quotes that the draft puts around it. */
export function readIdempotencyKey(header: string): string {
  return header.startsWith('"') ? header.slice(1, -1) : header;
}

/**
 * Works under a key, or finds what came of an earlier request. `work` stores its outcome with its own commit.
 * @param body the bytes of the request; stored as a keyed hash, because a code is in them
 * @returns what an earlier request has paired, or undefined when `work` was done
 * @throws Problem `idempotency-key-reused`, `idempotency-in-progress`, what the earlier request got, what `work` throws
 */
export async function doOnce(
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
    // After `unavailable` nobody knows whether it was committed: the lease keeps the key until that is settled.
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
  const [found] = await rows<Found>(ctx.db, RESERVE, [owner, path, key, hashes, requestId, id]);
  if (found?.reserved) return undefined;
  // Not in this snapshot: another request has reserved it this very moment.
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

/** The header of a response that is sent again. */
export const REPLAYED = { 'Idempotent-Replayed': 'true' };

/** @param seconds until it is worth while to ask again */
export const inProgress = (seconds: number) =>
  new Problem('idempotency-in-progress', { headers: { 'Retry-After': String(seconds) } });

const MINE = 'cpo_id = $1 and path = $2 and key = $3 and reservation = $4 and outcome is null';

/** Stores that the code of a request under a key was incorrect, where no statement of its own does. */
export async function storeIncorrectCode(ctx: Pick<Context, 'db'>, { owner, path, key, id }: Reservation) {
  const sql = `update idempotency_keys set outcome = 'incorrect-code' where ${MINE} returning key`;
  await rows(ctx.db, `with stored as (${sql}) select key from stored`, [owner, path, key, id]);
}

/** Frees a key whose request got a response that is not stored. */
async function release(ctx: Context, { owner, path, key, id }: Reservation): Promise<void> {
  const sql = `delete from idempotency_keys where ${MINE} returning key`;
  await rows(ctx.db, `with released as (${sql}) select key from released`, [owner, path, key, id]);
}
