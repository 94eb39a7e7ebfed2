import { type Audited, audited, auditParameters } from '../audit/audit';
import { CODES_CHANNEL } from '../codes/codes';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { hashSubject, subjectHashes } from '../crypto/keys';
import { rows, transaction } from '../db/query';
import { enqueue, eraseDeadLettered, type Notification } from '../outbox/outbox';
import { Problem } from '../problems';

/** Codes, and pairings, that one statement forgets: few enough to be far below the statement time-out. */
const CODES_BATCH = 500;
const PAIRINGS_BATCH = 100;

export type Forgetting = Pick<Context, 'db' | 'keys' | 'metrics'> & Audited;

export type ForgetOptions = {
  /** What began later is left alone: the user has come back since. Everything is forgotten when undefined. */
  readonly before?: Date | undefined;
  /** In terms of `performance.now()`; no further batch is begun after it. */
  readonly deadline?: number;
  /** The request that asks for it, for the notifications of CPOs. */
  readonly origin?: Origin;
};

export type Forgotten = { readonly userHash: string; readonly codes: number; readonly pairingIds: string[] };

/** A redemption stores its pairing only while its own row has no outcome; one that is just doing so is waited for. */
const REVOKE_REDEMPTIONS = `
with revoked as (
  update redemption_attempts set outcome = 'forgotten'
  where user_hash = any($1) and outcome is null and began_at <= $2
  returning id
)
select count(*)::int as count from revoked`;

/**
 * A batch of a user's codes that have not paired, each kind by its own index; polls of active ones are woken. A code that
 * is pairing at this moment is waited for and forgotten; its pairing is visible to the statements that follow.
 */
const FORGET_CODES = `
with theirs as materialized (
  (select id, true as active from pairing_codes where user_id = $3 and status = 'active' and created_at <= $4
   limit ${CODES_BATCH})
  union all
  (select id, false from pairing_codes where user_id = $3 and status in ('expired', 'cancelled') and created_at <= $4
   limit ${CODES_BATCH})
), forgotten as (
  update pairing_codes c
  set user_id = null, charging_location_id = null,
    status = case when c.status = 'active' then 'cancelled' else c.status end, ended_at = coalesce(c.ended_at, now())
  where c.user_id = $3 and c.id = any (array(select id from theirs))
  returning c.id, case when c.id = any (array(select id from theirs where active))
    then pg_notify('${CODES_CHANNEL}', c.id::text) end
), changed as (
  select $5::uuid as id from forgotten where $5::uuid is not null limit 1
), ${audited('user.forget', '$6::jsonb')}
select (select count(*)::int from theirs) as found, (select count(*)::int from forgotten) as forgotten`;

/** A batch of a user's pairings, said so that the index of those that last and the index of ended ones are used. */
const SOME_PAIRINGS = `
select id from pairings
where user_id = $1 and (ended_at is null or ended_at is not null) and paired_at <= $2 limit ${PAIRINGS_BATCH}`;

/** What identified a failed attempt is replaced by a meaningless text; the attempt still counts. */
const FORGET_TRIES = `
with changed as (
  update cpo_tries t
  set wrong_uid = array(
    select coalesce((select min(p.id::text) from pairings p where p.id = any($1) and p.station_uid = w.uid), w.uid)
    from unnest(t.wrong_uid) with ordinality w (uid, n) order by n)
  where wrong_uid && array(select station_uid from pairings p where p.id = any($1) and station_uid is not null)
  returning cpo_id
)
select count(*)::int as count from changed`;

/**
 * Some pairings of a user, with their codes. What is left of them is noted in `erasures`. A notification that is still being
 * tried keeps its uid until the CPO has it.
 */
const FORGET_PAIRINGS = `
with theirs as (
  select p.id, p.cpo_id, p.code_id, p.station_uid, p.ended_at is null as active, s.uid, s.payload_protocol
  from pairings p left join stations s on s.pairing_id = p.id
  where p.id = any($7) and p.user_id = $3 and p.paired_at <= $4
  order by p.id for update of p
), forgotten as (
  update pairings p
  set user_id = null, charging_location_id = null, station_uid = null,
    ended_at = coalesce(p.ended_at, now()), ended_by = coalesce(p.ended_by, 'app')
  from theirs where theirs.id = p.id
), code as (
  update pairing_codes set user_id = null, charging_location_id = null where id = any (array(select code_id from theirs))
), left_over as (
  insert into erasures (pairing_id, station_uid) select id, station_uid from theirs where station_uid is not null
), event as (
  insert into events (id, type, pairing_id, cpo_id)
  select gen_random_uuid(), 'station.unpaired', id, cpo_id from theirs where active
), changed as (
  select $5::uuid as id from theirs where $5::uuid is not null limit 1
), ${audited('user.forget', '$6::jsonb')}
select id as "pairingId", cpo_id as "cpoId", uid, payload_protocol as "payloadProtocol", active from theirs`;

/**
 * Erases what identifies a user and frees their stations; the CPOs are notified (contract, section 6). Afterwards nothing
 * of the user can be seen; stations and uids that are left in storage are for `completeErasuresOf`. It goes in batches, each
 * committed with the audit entry of the first; repeated after a failure, it goes on where it ended.
 * @throws Problem `unavailable`, also when the deadline has passed
 */
export async function forgetUser(ctx: Forgetting, userId: string, options: ForgetOptions = {}): Promise<Forgotten> {
  const { deadline = Number.POSITIVE_INFINITY } = options;
  const before = options.before?.toISOString() ?? 'infinity';
  const hashes = subjectHashes(ctx.keys, 'user', userId);
  const userHash = hashSubject(ctx.keys, 'user', userId).toString('hex');
  let codes = 0;
  const pairingIds: string[] = [];
  /** The parameters of a batch; the first that erases something also writes the audit entry. */
  const batch = () => [
    ...auditParameters(ctx),
    userId,
    before,
    codes + pairingIds.length === 0 ? subjectId(userHash) : null,
    JSON.stringify({ user_hash: userHash }),
  ];
  const inTime = () => {
    if (performance.now() > deadline) throw new Problem('unavailable');
  };

  await rows(ctx.db, REVOKE_REDEMPTIONS, [hashes, before]);
  for (let found = 1; found > 0; inTime()) {
    const [done] = await rows<{ found: number; forgotten: number }>(ctx.db, FORGET_CODES, batch());
    codes += done?.forgotten ?? 0;
    found = done?.found ?? 0;
  }
  await forgetRedemptions(ctx, userId, before);
  for (;;) {
    const some = await rows<{ id: string }>(ctx.db, SOME_PAIRINGS, [userId, before]);
    if (some.length === 0) break;
    const ids = some.map(({ id }) => id);
    await forgetFailedAttempts(ctx, ids);
    const done = await transaction(ctx.db, async (tx) => {
      const forgotten = await rows<Notification & { active: boolean }>(tx, FORGET_PAIRINGS, [...batch(), ids]);
      await enqueue(
        tx,
        forgotten.filter(({ active }) => active),
        options.origin,
      );
      await eraseDeadLettered(tx);
      return forgotten;
    });
    for (const { pairingId, cpoId, active } of done) {
      pairingIds.push(pairingId);
      if (active) ctx.metrics.stationUnpaired('app', pairingId, cpoId);
    }
    inTime();
  }
  ctx.metrics.userForgotten({ user_hash: userHash, pairings: pairingIds.length });
  return { userHash, codes, pairingIds };
}

/** The subject of the audit entry is a uuid: the first half of the hash. */
function subjectId(userHash: string): string {
  return userHash.slice(0, 32);
}

/**
 * The tries of a CPO are locked by whoever pairs there, who may wait for a uid that is being freed: they have a commit of
 * their own, before the one that forgets which uids these were.
 */
async function forgetFailedAttempts(ctx: Forgetting, pairingIds: readonly string[]): Promise<void> {
  await rows(ctx.db, FORGET_TRIES, [pairingIds]);
}

/** Rows of the previous version; what counts today is kept under a keyed hash. */
async function forgetRedemptions(ctx: Forgetting, userId: string, before: string): Promise<void> {
  const sql = 'delete from redemptions where user_id = $1 and tried_at <= $2 returning id';
  await rows(ctx.db, `with gone as (${sql}) select count(*)::int as count from gone`, [userId, before]);
}
