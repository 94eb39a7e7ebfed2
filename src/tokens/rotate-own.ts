import type { EntityManager } from 'typeorm';
import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import { rows, transaction } from '../db/query';
import { Problem } from '../problems';
import { AUDIT_DETAIL, hashToken, type RotatedToken, tokenOf } from './tokens';

/**
 * How many replaced tokens may still be valid, so that a caller that rotates all the time adds few tokens, which every replica
 * keeps in memory, and few entries to the audit log, which are never deleted.
 */
const MAX_REPLACED = 3;

const LOCK = 'select id from tokens where id = $1 for no key update';

/** Follows `replaces` back to the first token. */
const STATE = `
with recursive older as (
  select replaces as id from tokens where id = $1
  union
  select t.replaces from tokens t join older o on t.id = o.id
)
select t.revoked_at is null and t.expires_at > now() as live, c.suspended_at is not null as suspended,
  exists (select from tokens n where n.replaces = t.id) as replaced,
  (select count(*)::int from tokens o join older on older.id = o.id
   where o.revoked_at is null and o.expires_at > now()) as "olderLive"
from tokens t join cpos c on c.id = t.cpo_id where t.id = $1`;

const NOT_SELF_SERVICE = 'not exists (select from cpos c where c.id = changed.cpo_id and c.sandbox)';

/** The new token lives as long as the one that it replaces was to live. Strangers write no entries of the audit log. */
const ROTATE = `
with before as (
  select expires_at - created_at as lifetime from tokens where id = $3
), changed as (
  update tokens set expires_at = least(expires_at, now() + make_interval(hours => $4)) where id = $3 returning *
), issued as (
  insert into tokens (id, role, cpo_id, hash, expires_at, replaces)
  select $5, c.role, c.cpo_id, $6, now() + b.lifetime, c.id from changed c, before b
  returning expires_at
), ${audited('token.rotate', `${AUDIT_DETAIL} || jsonb_build_object('replaced_by', $5::uuid)`, NOT_SELF_SERVICE)}
select i.expires_at as "expiresAt", c.expires_at as "oldExpiresAt" from issued i, changed c`;

/**
 * Replaces the token of a CPO at its own request. The token stays valid for the overlap, or less if it expires earlier.
 * @throws Problem `invalid-token` or `cpo-suspended` if that has changed meanwhile, `token-replaced`, `too-many-tokens`
 */
export function rotateOwnToken(ctx: Context & Audited, replaces: string, overlapHours: number): Promise<RotatedToken> {
  type State = { live: boolean; suspended: boolean; replaced: boolean; olderLive: number };
  const rotate = async (tx: EntityManager) => {
    // The next statement then sees a rotation or revocation that this one has waited for.
    await rows(tx, LOCK, [replaces]);
    const [state] = await rows<State>(tx, STATE, [replaces]);
    if (!state?.live) throw new Problem('invalid-token');
    if (state.suspended) throw new Problem('cpo-suspended');
    if (state.replaced) throw new Problem('token-replaced');
    if (state.olderLive >= MAX_REPLACED) throw new Problem('too-many-tokens');
    const id = ctx.random.uuid();
    const token = tokenOf('cpo', ctx.random.bytes(32));
    const values = [...auditParameters(ctx), replaces, overlapHours, id, hashToken(token)];
    const [rotated] = await rows<Pick<RotatedToken, 'expiresAt' | 'oldExpiresAt'>>(tx, ROTATE, values);
    if (rotated === undefined) throw new TypeError('a locked token was not found');
    return { id, token, replaces, ...rotated };
  };
  return transaction(ctx.db, rotate, 'READ COMMITTED');
}
