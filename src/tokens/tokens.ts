import { hash } from 'node:crypto';
import { validate as isUuid } from 'uuid';
import { type Audited, audited, auditParameters } from '../audit/audit';
import { violates } from '../db/errors';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import type { Role } from '../db/schema/tokens';
import { OperatorError } from '../problems';

/** The channel that is notified when a token or a CPO changes. */
export const TOKENS_CHANNEL = 'scsp_tokens';
const LIFETIME_DAYS = 365;

export type IssuedToken = { readonly id: string; readonly token: string; readonly expiresAt: Date };
export type TokenOwner =
  | { readonly role: 'cpo'; readonly cpoId: string }
  | { readonly role: 'app' | 'ingest'; readonly appName: string };
/** A token in the list for operators. */
export type TokenSummary = {
  id: string;
  role: Role;
  cpoId: string | null;
  /** The name of the CPO, app or pipeline. */
  owner: string;
  createdAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
  /** Accurate to one minute. */
  lastUsedAt: Date | null;
  /** The token that it was rotated from. */
  replaces: string | null;
};

/** Hashes a token. Plain SHA-256 is sufficient: a token has 256 random bits, which rules out a brute-force search. */
export function hashToken(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

/** Returns the token with a secret. */
export const tokenOf = (role: Role, secret: Buffer) => `scsp_${role}_${secret.toString('base64url')}`;

/** The detail of audit entries about a token. */
export const AUDIT_DETAIL = `jsonb_strip_nulls(jsonb_build_object('role', role, 'cpo_id', cpo_id, 'app', app_name))`;

const ISSUE = `
with changed as (
  insert into tokens (id, role, cpo_id, app_name, hash, expires_at)
  values ($3, $4, $5, $6, $7, now() + make_interval(days => ${LIFETIME_DAYS}))
  returning *
), ${audited('token.issue', AUDIT_DETAIL)}
select expires_at as "expiresAt" from changed`;

/**
 * Issues a token. Only its hash is stored, so that it cannot be shown again.
 * @throws OperatorError for an unknown CPO
 */
export async function issueToken(ctx: Audited, owner: TokenOwner): Promise<IssuedToken> {
  const token = tokenOf(owner.role, ctx.random.bytes(32));
  const id = ctx.random.uuid();
  const cpoId = owner.role === 'cpo' ? owner.cpoId : null;
  const appName = owner.role === 'cpo' ? null : owner.appName;
  if (cpoId !== null && !isUuid(cpoId)) throw new OperatorError(`no CPO has the id ${cpoId}`);
  const [stored] = await rows<{ expiresAt: Date }>(ctx.db, ISSUE, [
    ...auditParameters(ctx),
    id,
    owner.role,
    cpoId,
    appName,
    hashToken(token),
  ]).catch((error: unknown) => {
    if (violates(error, 'tokens_cpo_id_fkey')) throw new OperatorError(`no CPO has the id ${cpoId}`);
    throw error;
  });
  if (stored === undefined) throw new TypeError('an insert returned no row');
  return { id, token, expiresAt: stored.expiresAt };
}

/**
 * The new token has the role of the old one, which only the row knows: `$6` to `$8` are the hashes for the roles.
 */
const ROTATE = `
with changed as (
  update tokens set expires_at = least(expires_at, now() + make_interval(hours => $4))
  where id = $3 and revoked_at is null and expires_at > now()
  returning *
), issued as (
  insert into tokens (id, role, cpo_id, app_name, hash, expires_at, replaces)
  select $5, role, cpo_id, app_name, case role when 'cpo' then $6::bytea when 'app' then $7::bytea else $8::bytea end,
    now() + make_interval(days => ${LIFETIME_DAYS}), id
  from changed
  returning role, expires_at, replaces
), ${audited('token.rotate', `${AUDIT_DETAIL} || jsonb_build_object('replaced_by', $5::uuid)`)}
select i.role, i.expires_at as "expiresAt", c.expires_at as "oldExpiresAt"
from tokens t left join issued i on i.replaces = t.id left join changed c on c.id = t.id
where t.id = $3`;

export type RotatedToken = IssuedToken & { readonly replaces: string; readonly oldExpiresAt: Date };

/**
 * Issues a new token for the owner of a live one. The old token expires after the overlap, or earlier if it was due to.
 * @throws OperatorError for an id that is unknown, revoked or expired
 */
export async function rotateToken(ctx: Audited, replaces: string, overlapHours: number): Promise<RotatedToken> {
  type Rotated = { role: Role | null; expiresAt: Date; oldExpiresAt: Date };
  const id = ctx.random.uuid();
  const secret = ctx.random.bytes(32);
  const hashes = (['cpo', 'app', 'ingest'] as const).map((role) => hashToken(tokenOf(role, secret)));
  const [rotated] = isUuid(replaces)
    ? await rows<Rotated>(ctx.db, ROTATE, [...auditParameters(ctx), replaces, overlapHours, id, ...hashes])
    : [];
  if (rotated === undefined) throw new OperatorError(`no token has the id ${replaces}`);
  const { role, expiresAt, oldExpiresAt } = rotated;
  if (role === null) throw new OperatorError(`the token ${replaces} is revoked or has expired: issue a new one`);
  return { id, token: tokenOf(role, secret), expiresAt, replaces, oldExpiresAt };
}

/** Returns all tokens, the oldest first. */
export function listTokens(db: Database): Promise<TokenSummary[]> {
  return rows(
    db,
    `select t.id, t.role, t.cpo_id as "cpoId", coalesce(c.name, t.app_name) as owner, t.created_at as "createdAt",
       t.expires_at as "expiresAt", t.revoked_at as "revokedAt", t.last_used_at as "lastUsedAt", t.replaces
     from tokens t left join cpos c on c.id = t.cpo_id order by t.id`,
  );
}
