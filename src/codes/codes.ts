import type { EntityManager } from 'typeorm';
import { validate as isUuid } from 'uuid';
import type { Context } from '../context';
import { rows, transaction, violates } from '../db/database';
import { Problem } from '../problems';
import { capacity, hashCode, nearTwins } from './code';
import type { CodeStatus } from './table';

export type Code = {
  readonly id: string;
  readonly status: CodeStatus;
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly cpoId: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
};
export type IssuedCode = Code & { readonly code: string };

type Issuing = Pick<Context, 'config' | 'db' | 'events' | 'chance' | 'keys'>;

/** The channel on which the id of a code rings when it is used or cancelled. */
export const CODES_CHANNEL = 'scsp_codes';

/** Codes are issued one at a time in the whole platform: what is counted and compared holds until the commit. */
const ISSUE_LOCK = 7_305_002;
/** Before it, and before any row is touched, one issue at a time for a user and location: nobody waits in a circle. */
const OWNER_LOCK = 7_305_003;
/** So many candidates in a row refused by twins and quarantine: that length is as good as full. */
const TRIES_PER_LENGTH = 20;
const LONGEST = 18;

const COLUMNS = `id, status, user_id as "userId", charging_location_id as "chargingLocationId",
  cpo_id as "cpoId", created_at as "createdAt", expires_at as "expiresAt"`;

const CANCEL_OLD = `
with old as (
  update pairing_codes
  set status = case when expires_at <= now() then 'expired' else 'cancelled' end, ended_at = least(now(), expires_at)
  where user_id = $1 and charging_location_id = $2 and status = 'active'
  returning id, status, pg_notify('${CODES_CHANNEL}', id::text)
), event as (
  insert into events (id, type, code_id) select $3, 'code.cancelled', id from old where status = 'cancelled'
)
select id from old where status = 'cancelled'`;

const LAPSE = `
with lapsed as (
  select id from pairing_codes where status = 'active' and expires_at <= now()
  order by expires_at limit 1000 for update skip locked
)
update pairing_codes c set status = 'expired', ended_at = expires_at from lapsed where c.id = lapsed.id`;

const COUNT_ACTIVE = `
select length, count(*)::int as active from pairing_codes
where status = 'active' and expires_at > now() and length >= $1 group by length`;

const ISSUE = `
with issued as (
  insert into pairing_codes (id, hash, length, user_id, charging_location_id, cpo_id, expires_at)
  select $1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7)
  where not exists (select from pairing_codes where hash = any($10::bytea[]) and created_at > now() - interval '24 hours')
    and not exists (
      select from unnest($8::bytea[]) as twin (hash) join pairing_codes c using (hash)
      where c.status = 'active' and c.expires_at > now())
  on conflict do nothing
  returning ${COLUMNS}
), event as (
  insert into events (id, type, code_id) select $9, 'code.issued', id from issued
)
select * from issued`;

/**
 * Issues a code for a user and charging location and cancels their old one (contract, section 4).
 * @param request.cpoId the only CPO that may use the code, if any
 * @throws Problem `invalid-request` for an unknown CPO
 */
export async function issueCode(
  ctx: Issuing,
  request: { userId: string; chargingLocationId: string; cpoId?: string | undefined },
): Promise<IssuedCode> {
  let length = ctx.config.codeLength;
  for (let attempt = 1; length <= LONGEST; attempt++) {
    const candidate = await transaction(ctx.db, async (tx) => {
      const { userId, chargingLocationId } = request;
      await rows(tx, 'select pg_advisory_xact_lock($1, hashtext($2))', [OWNER_LOCK, `${userId}\n${chargingLocationId}`]);
      const old = await rows<{ id: string }>(tx, CANCEL_OLD, [userId, chargingLocationId, ctx.chance.uuid()]);
      for (const { id } of old) ctx.events.codeCancelled(id);
      await rows(tx, 'select pg_advisory_xact_lock($1)', [ISSUE_LOCK]);
      await rows(tx, LAPSE);
      length = await shortestWithRoom(tx, length);
      return insertCandidate(ctx, tx, ctx.chance.digits(length), request);
    });
    if (candidate !== undefined) {
      ctx.events.codeIssued(candidate.id);
      return candidate;
    }
    if (attempt % TRIES_PER_LENGTH === 0) length += 1;
  }
  throw new Problem('unavailable');
}

async function shortestWithRoom(tx: EntityManager, from: number): Promise<number> {
  const counts = await rows<{ length: number; active: number }>(tx, COUNT_ACTIVE, [from]);
  const active = new Map(counts.map((count) => [count.length, count.active]));
  let length = from;
  while ((active.get(length) ?? 0) >= capacity(length)) length += 1;
  return length;
}

/** Undefined when the candidate was issued in the last 24 hours, is near an active code, or another issue came first. */
async function insertCandidate(
  ctx: Issuing,
  tx: EntityManager,
  code: string,
  request: { userId: string; chargingLocationId: string; cpoId?: string | undefined },
): Promise<IssuedCode | undefined> {
  const hashes = (text: string) => ctx.keys.pairingCode.map((key) => hashCode(key, text));
  const [issued] = await rows<Code>(tx, ISSUE, [
    ctx.chance.uuid(),
    hashes(code)[0],
    code.length,
    request.userId,
    request.chargingLocationId,
    request.cpoId ?? null,
    ctx.config.codeTtlSeconds,
    nearTwins(code).flatMap(hashes),
    ctx.chance.uuid(),
    hashes(code),
  ]).catch((error: unknown) => {
    if (!violates(error, 'pairing_codes_cpo_id_fkey')) throw error;
    throw new Problem('invalid-request', {
      errors: [{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }],
      cause: error,
    });
  });
  return issued && { ...issued, code };
}

/**
 * A code's present state, and how long it is until it expires by the database's clock.
 * @throws Problem `not-found` for an id that is unknown or malformed
 */
export async function readCode(ctx: Context, id: string): Promise<{ code: Code; expiresInMs: number }> {
  if (!isUuid(id)) throw new Problem('not-found');
  const [found] = await rows<Code & { expiresInMs: number }>(
    ctx.db,
    `select ${COLUMNS}, extract(epoch from expires_at - now())::float8 * 1000 as "expiresInMs"
     from pairing_codes where id = $1 and user_id is not null`,
    [id],
  );
  if (found === undefined) throw new Problem('not-found');
  const { expiresInMs, ...code } = found;
  const lapsed = code.status === 'active' && expiresInMs <= 0;
  return { code: lapsed ? { ...code, status: 'expired' } : code, expiresInMs };
}

const CANCEL = `
with cancelled as (
  update pairing_codes set status = 'cancelled', ended_at = now()
  where id = $1 and status = 'active' and expires_at > now()
  returning id, pg_notify('${CODES_CHANNEL}', id::text)
), event as (
  insert into events (id, type, code_id) select $2, 'code.cancelled', id from cancelled
)
select id from cancelled`;

/**
 * Cancels an active code; one that is cancelled or expired stays as it is.
 * @throws Problem `not-found`, `code-already-used`
 */
export async function cancelCode(ctx: Context, id: string): Promise<void> {
  if (!isUuid(id)) throw new Problem('not-found');
  const [cancelled] = await rows<{ id: string }>(ctx.db, CANCEL, [id, ctx.chance.uuid()]);
  if (cancelled !== undefined) return ctx.events.codeCancelled(id);
  const { code } = await readCode(ctx, id);
  if (code.status === 'used') throw new Problem('code-already-used');
}
