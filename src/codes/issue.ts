import { setTimeout as sleep } from 'node:timers/promises';
import type { EntityManager } from 'typeorm';
import type { Context } from '../context';
import { Batches } from '../db/batches';
import { rows, transaction, violates } from '../db/database';
import { Problem } from '../problems';
import { capacity, hashCode, nearTwins } from './code';
import { CODES_CHANNEL, COLUMNS, type Code } from './codes';

export type IssuedCode = Code & { readonly code: string };
export type IssueRequest = {
  readonly userId: string;
  readonly chargingLocationId: string;
  /** The only CPO that may use the code, if any. */
  readonly cpoId?: string | undefined;
};

type Issuing = Pick<Context, 'config' | 'db' | 'events' | 'chance' | 'keys'>;

/** Codes are issued under one lock in the whole platform: what is counted and compared holds until the commit. */
const ISSUE_LOCK = 7_305_002;
/** So many requests share the lock, and a commit. */
const LARGEST_BATCH = 32;
/** So many candidates in a row refused by twins and quarantine: that length is as good as full. */
const TRIES_PER_LENGTH = 20;
const LONGEST = 18;
const PATIENCE_MS = 2_000;

/** Codes whose time is over make room; rows that somebody holds are left for the next time. */
const LAPSE = `
with lapsed as (
  select id from pairing_codes where status = 'active' and ended_at is null and expires_at <= now()
  order by expires_at limit 1000 for update skip locked
)
update pairing_codes c set status = 'expired', ended_at = expires_at from lapsed where c.id = lapsed.id`;

const COUNT_ACTIVE = `
select length, count(*)::int as active from pairing_codes
where status = 'active' and length >= $1 group by length`;

/**
 * Cancels the old code and issues the new one, in this order (`cancelled` makes the insert wait). Nothing is issued when
 * the value was issued in the last 24 hours, is near an active one, or the old code is in somebody's hands just now.
 */
const ISSUE = `
with old as (
  select id from pairing_codes where user_id = $4 and charging_location_id = $5 and status = 'active'
  for update skip locked
), gone as (
  update pairing_codes c set status = case when expires_at <= now() then 'expired' else 'cancelled' end,
    ended_at = least(now(), expires_at)
  from old where c.id = old.id
  returning c.id, c.status, pg_notify('${CODES_CHANNEL}', c.id::text)
), cancelled as materialized (
  select array_agg(id) filter (where status = 'cancelled') as ids from gone
), issued as (
  insert into pairing_codes (id, hash, length, user_id, charging_location_id, cpo_id, expires_at)
  select $1, ($2::bytea[])[1], $3, $4, $5, $6, now() + make_interval(secs => $7) from cancelled
  where not exists (select from pairing_codes where hash = any($2) and created_at > now() - interval '24 hours')
    and not exists (
      select from unnest($8::bytea[], $11::smallint[]) as twin (hash, length) join pairing_codes c using (length, hash)
      where c.status = 'active' and c.expires_at > now())
  on conflict do nothing
  returning *
), event as (
  insert into events (id, type, code_id)
  select $9::uuid, 'code.issued', id from issued
  union all select $10::uuid, 'code.cancelled', ids[1] from cancelled where ids is not null
)
select i.*, i.id is not null as issued, c.ids[1] as "cancelledId" from cancelled c left join (select ${COLUMNS} from issued) i on true`;

type Attempt = { issued: IssuedCode | undefined; cancelledId: string | null };

/**
 * Issues codes for users and charging locations and cancels their old ones (contract, section 4).
 * @returns a verb that throws Problem `invalid-request` for an unknown CPO, `unavailable`
 */
export function createIssueCode(ctx: Issuing): (request: IssueRequest) => Promise<IssuedCode> {
  const batches = new Batches<IssueRequest, IssuedCode | undefined>(
    (_key, batch) => issueAll(ctx, batch),
    LARGEST_BATCH,
    (error) => error instanceof Problem && error.type === 'unavailable',
  );
  return async (request) => {
    for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline; ) {
      const issued = await batches.add('issue', request);
      if (issued !== undefined) return issued;
      await sleep(1 + Math.random() * 20);
    }
    throw new Problem('unavailable');
  };
}

async function issueAll(ctx: Issuing, requests: readonly IssueRequest[]): Promise<(IssuedCode | undefined)[]> {
  const attempts = await transaction(ctx.db, async (tx) => {
    await rows(tx, 'select pg_advisory_xact_lock($1)', [ISSUE_LOCK]);
    await rows(tx, LAPSE);
    const counts = await rows<{ length: number; active: number }>(tx, COUNT_ACTIVE, [ctx.config.codeLength]);
    const active = new Map(counts.map((count) => [count.length, count.active]));
    const made: Attempt[] = [];
    for (const request of requests) made.push(await issueOne(ctx, tx, request, active));
    return made;
  });
  for (const { issued, cancelledId } of attempts) {
    if (cancelledId !== null) ctx.events.codeCancelled(cancelledId);
    if (issued !== undefined) ctx.events.codeIssued(issued.id);
  }
  return attempts.map(({ issued }) => issued);
}

/** @param active how many codes of each length are active, kept up to date */
async function issueOne(
  ctx: Issuing,
  tx: EntityManager,
  request: IssueRequest,
  active: Map<number, number>,
): Promise<Attempt> {
  let cancelledId: string | null = null;
  for (let length = ctx.config.codeLength; length <= LONGEST; length++) {
    if ((active.get(length) ?? 0) >= capacity(length)) continue;
    for (let tries = 0; tries < TRIES_PER_LENGTH; tries++) {
      const code = ctx.chance.digits(length);
      const answer = await tryCode(ctx, tx, code, request);
      cancelledId ??= answer.cancelledId;
      if (answer.issued === undefined) continue;
      active.set(length, (active.get(length) ?? 0) + 1);
      return { issued: { ...answer.issued, code }, cancelledId };
    }
  }
  return { issued: undefined, cancelledId };
}

async function tryCode(
  ctx: Issuing,
  tx: EntityManager,
  code: string,
  request: IssueRequest,
): Promise<{ issued: Code | undefined; cancelledId: string | null }> {
  const hashes = (text: string) => ctx.keys.pairingCode.map((key) => hashCode(key, text));
  const twins = nearTwins(code).flatMap((twin) => hashes(twin).map((hash) => ({ hash, length: twin.length })));
  const [answer] = await rows<{ issued: boolean; cancelledId: string | null } & Code>(tx, ISSUE, [
    ctx.chance.uuid(),
    hashes(code),
    code.length,
    request.userId,
    request.chargingLocationId,
    request.cpoId ?? null,
    ctx.config.codeTtlSeconds,
    twins.map(({ hash }) => hash),
    ctx.chance.uuid(),
    ctx.chance.uuid(),
    twins.map(({ length }) => length),
  ]).catch((error: unknown) => {
    if (!violates(error, 'pairing_codes_cpo_id_fkey')) throw error;
    throw new Problem('invalid-request', {
      errors: [{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }],
      cause: error,
    });
  });
  if (answer === undefined) throw new TypeError('a statement that always answers a row did not');
  const { issued, cancelledId, ...fresh } = answer;
  return { issued: issued ? fresh : undefined, cancelledId };
}
