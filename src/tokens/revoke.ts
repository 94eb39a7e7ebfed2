import type { EntityManager } from 'typeorm';
import { validate as isUuid } from 'uuid';
import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Database } from '../db/pool';
import { rows, transaction } from '../db/query';
import { OperatorError } from '../problems';
import { AUDIT_DETAIL } from './tokens';

export type RevokedToken = {
  readonly id: string;
  readonly revokedAt: Date;
  /** The tokens that were rotated from it and were revoked with it. */
  readonly alsoRevoked: readonly string[];
};

/** Locks a token and, if `$2`, all that were rotated from it, directly or not. A rotation locks the token that it replaces. */
const LOCK = `
with recursive chain as (
  select id from tokens where id = $1
  union
  select t.id from tokens t join chain c on t.replaces = c.id where $2
)
select t.id, t.revoked_at as "revokedAt" from tokens t where t.id in (select id from chain) order by t.id
for no key update of t`;

const REVOKE = `
with changed as (
  update tokens set revoked_at = now() where id = $3 and revoked_at is null returning *
), ${audited('token.revoke', `${AUDIT_DETAIL} || jsonb_strip_nulls(jsonb_build_object('revoked_with', $4::uuid))`)}
select revoked_at as "revokedAt" from changed`;

type Locked = { readonly id: string; readonly revokedAt: Date | null };

/**
 * Revokes a token and, unless told otherwise, every token that was rotated from it, in one transaction. In force on every
 * replica within 1 s. Idempotent.
 * @throws OperatorError for an unknown id
 */
export function revokeToken(
  ctx: Omit<Audited, 'db'> & { readonly db: Database },
  id: string,
  { successors = true } = {},
): Promise<RevokedToken> {
  const revoke = async (tx: EntityManager) => {
    const locked = isUuid(id) ? await lock(tx, id, successors) : [];
    const revokedAt = new Map<string, Date>();
    for (const token of locked) {
      const values = [...auditParameters(ctx), token.id, token.id === id ? null : id];
      const [revoked] = token.revokedAt === null ? await rows<{ revokedAt: Date }>(tx, REVOKE, values) : [];
      if (revoked !== undefined) revokedAt.set(token.id, revoked.revokedAt);
    }
    const at = revokedAt.get(id) ?? locked.find((token) => token.id === id)?.revokedAt;
    if (at == null) throw new OperatorError(`no token has the id ${id}`);
    return { id, revokedAt: at, alsoRevoked: [...revokedAt.keys()].filter((other) => other !== id) };
  };
  return transaction(ctx.db, revoke, 'READ COMMITTED');
}

/** Locks what is to be revoked. A rotation may have committed while a lock was waited for, so it looks until nothing is new. */
async function lock(tx: EntityManager, id: string, successors: boolean): Promise<Locked[]> {
  for (let count = -1; ; ) {
    const locked = await rows<Locked>(tx, LOCK, [id, successors]);
    if (locked.length === count) return locked;
    count = locked.length;
  }
}
