import { createHmac } from 'node:crypto';
import type { Context } from '../context';
import { rows } from '../db/database';
import { Problem } from '../problems';

/** Where an Idempotency-Key counts (contract, section 3). */
export type IdempotencyScope = { readonly cpoId: string; readonly path: string; readonly key: string };

/** Longer than a statement may take, so that whoever comes after it finds the outcome of the first, or no first. */
const LEASE_SECONDS = 10;

const RESERVE = `
with reserved as (
  insert into idempotency_keys as i (cpo_id, path, key, body_hash, lease_until, request_id)
  values ($1, $2, $3, $4, now() + make_interval(secs => ${LEASE_SECONDS}), $5)
  on conflict (cpo_id, path, key) do update
  set body_hash = excluded.body_hash, lease_until = excluded.lease_until, request_id = excluded.request_id,
    created_at = now(), outcome = null
  where i.created_at < now() - interval '24 hours'
    or (i.outcome is null and i.lease_until < now() and i.body_hash = excluded.body_hash)
  returning key
)
select exists (select from reserved) as reserved, i.body_hash as "bodyHash", i.outcome, i.request_id as "requestId",
  greatest(1, ceil(extract(epoch from i.lease_until - now())))::int as "retryAfter"
from (select) one left join idempotency_keys i on i.cpo_id = $1 and i.path = $2 and i.key = $3`;

type Found = {
  reserved: boolean;
  bodyHash: Buffer | null;
  outcome: 'paired' | 'incorrect-code' | 'station-already-paired' | null;
  requestId: string | null;
  retryAfter: number | null;
};

/** A key as it is kept, without the quotes that the draft puts around it. */
export function readIdempotencyKey(header: string): string {
  return header.startsWith('"') ? header.slice(1, -1) : header;
}

/**
 * Pairs under a key, or finds what came of it before. The pairing statement keeps the outcome in its own commit.
 * @param body the bytes of the request; kept as a keyed hash, because a code is in them
 * @returns whether an earlier request was paired, and this one has nothing to do
 * @throws Problem `idempotency-key-reused`, `idempotency-in-progress`, what the earlier request got, what `pair` throws
 */
export async function doOnce(
  ctx: Context,
  scope: IdempotencyScope,
  body: Uint8Array,
  requestId: string,
  pair: () => Promise<void>,
): Promise<boolean> {
  if ((await reserve(ctx, scope, body, requestId)) === 'paired before') return true;
  try {
    await pair();
  } catch (error) {
    // After `unavailable` nobody knows whether it was committed: the lease keeps the key until that is settled.
    if (error instanceof Problem && !KEPT.has(error.type) && error.type !== 'unavailable') await release(ctx, scope);
    throw error;
  }
  return false;
}

const KEPT: ReadonlySet<string> = new Set(['incorrect-code', 'station-already-paired']);

async function reserve(
  ctx: Context,
  { cpoId, path, key }: IdempotencyScope,
  body: Uint8Array,
  requestId: string,
): Promise<'reserved' | 'paired before'> {
  const hash = createHmac('sha256', ctx.keys.idempotency).update(body).digest();
  const [found] = await rows<Found>(ctx.db, RESERVE, [cpoId, path, key, hash, requestId]);
  if (found?.reserved) return 'reserved';
  // Not in our snapshot: somebody has reserved it this very moment.
  if (!found?.bodyHash) throw inProgress(1);
  if (!found.bodyHash.equals(hash)) throw new Problem('idempotency-key-reused');
  if (found.outcome === null) throw inProgress(found.retryAfter ?? 1);
  if (found.outcome === 'paired') return 'paired before';
  throw new Problem(found.outcome, {
    headers: REPLAYED,
    ...(found.requestId !== null && { requestId: found.requestId }),
  });
}

/** The header of an answer that is given again. */
export const REPLAYED = { 'Idempotent-Replayed': 'true' };

const inProgress = (seconds: number) =>
  new Problem('idempotency-in-progress', { headers: { 'Retry-After': String(seconds) } });

/** Frees a key whose request got an answer that is not kept. */
async function release(ctx: Context, { cpoId, path, key }: IdempotencyScope): Promise<void> {
  await rows(
    ctx.db,
    `with released as (
       delete from idempotency_keys where cpo_id = $1 and path = $2 and key = $3 and outcome is null returning key
     ) select key from released`,
    [cpoId, path, key],
  );
}
