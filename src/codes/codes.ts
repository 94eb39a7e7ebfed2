import { validate as isUuid } from 'uuid';
import type { Context } from '../context';
import { type Origin, storedTrace } from '../contract/trace-context';
import { rows } from '../db/query';
import type { CodeStatus } from '../db/schema/codes';
import { Problem } from '../problems';

export type Code = {
  readonly id: string;
  readonly status: CodeStatus;
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly cpoId: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
};

/** Names the channel that carries the id of a code when its status changes. */
export const CODES_CHANNEL = 'scsp_codes';

/** Selects the columns of a code under the property names of `Code`. */
export const COLUMNS = `id, status, user_id as "userId", charging_location_id as "chargingLocationId",
  cpo_id as "cpoId", created_at as "createdAt", expires_at as "expiresAt"`;

/**
 * Returns a code and the time until it expires by the database's clock, in ms.
 * @throws Problem `not-found` if the id is unknown or malformed
 */
export async function readCode(ctx: Pick<Context, 'db'>, id: string): Promise<{ code: Code; expiresInMs: number }> {
  if (!isUuid(id)) throw new Problem('not-found');
  const [found] = await rows<Code & { expiresInMs: number }>(
    ctx.db,
    `select ${COLUMNS}, extract(epoch from expires_at - now())::float8 * 1000 as "expiresInMs"
     from pairing_codes where id = $1 and user_id is not null`,
    [id],
  );
  if (found === undefined) throw new Problem('not-found');
  const { expiresInMs, ...code } = found;
  const isExpired = code.status === 'active' && expiresInMs <= 0;
  return { code: isExpired ? { ...code, status: 'expired' } : code, expiresInMs };
}

const CANCEL = `
with cancelled as (
  update pairing_codes set status = 'cancelled', ended_at = now()
  where id = $1 and status = 'active' and expires_at > now()
  returning id, pg_notify('${CODES_CHANNEL}', id::text)
), event as (
  insert into events (id, type, code_id, traceparent) select $2, 'pairing_code.cancelled', id, $3 from cancelled
)
select id from cancelled`;

/**
 * Cancels an active code. Leaves a cancelled or expired one unchanged.
 * @throws Problem `not-found`, `code-already-used`
 */
export async function cancelCode(ctx: Context, id: string, origin: Origin): Promise<void> {
  if (!isUuid(id)) throw new Problem('not-found');
  const [cancelled] = await rows<{ id: string }>(ctx.db, CANCEL, [id, ctx.random.uuid(), storedTrace(origin)]);
  if (cancelled !== undefined) return ctx.metrics.codeCancelled(id, origin);
  const { code } = await readCode(ctx, id);
  if (code.status === 'used') throw new Problem('code-already-used');
}
