import { type Audited, audited, auditParameters } from '../audit/audit';
import { CODES_CHANNEL } from '../codes/codes';
import type { Context } from '../context';
import { type Origin, storedTrace } from '../contract/trace-context';
import { hashSubject, subjectHashes } from '../crypto/keys';
import { rows, transaction } from '../db/query';
import { EVENTS_CHANNEL, UNPUBLISHED } from '../events/events';
import { enqueue, eraseDeadLettered, type Notification } from '../outbox/outbox';
import { Problem } from '../problems';

/** The batch sizes of one statement, small enough to stay far below the statement time-out. */
const CODES_BATCH = 500;
const PAIRINGS_BATCH = 100;

export type Forgetting = Pick<Context, 'db' | 'keys' | 'metrics'> & Audited;

export type ForgetOptions = {
  /**
   * Codes and pairings that began later are kept, because the user has returned since. Undefined: everything is erased.
   */
  readonly before?: Date | undefined;
  /** By `performance.now()`; no batch starts after it. */
  readonly deadline?: number;
  /** The request that asked for the erasure, for the notifications of CPOs and the log. */
  readonly origin?: Origin;
};

export type Forgotten = { readonly userHash: string; readonly codes: number; readonly pairingIds: string[] };

/**
 * A redemption stores its pairing only while its row has no outcome. This update waits for one that is just committing.
 */
const REVOKE_REDEMPTIONS = `
with revoked as (
  update redemption_attempts set outcome = 'forgotten'
  where user_hash = any($1) and outcome is null and began_at <= $2
  returning id
)
select count(*)::int as count from revoked`;

/**
 * Erases a batch of a user's unused codes, found by one index for each status, and wakes the long polls of active ones. It waits
 * for a code that is being used or is ending at this moment, and then knows how it ended; the pairing is visible to the statements that
 * follow.
 */
const FORGET_CODES = `
with theirs as materialized (
  (select id from pairing_codes where user_id = $3 and status = 'active' and created_at <= $4
   limit ${CODES_BATCH})
  union all
  (select id from pairing_codes where user_id = $3 and status in ('expired', 'cancelled') and created_at <= $4
   limit ${CODES_BATCH})
), held as materialized (
  select c.id, c.status = 'active' as active from pairing_codes c
  where c.user_id = $3 and c.id = any (array(select id from theirs)) order by c.id for update
), forgotten as (
  update pairing_codes c
  set user_id = null, charging_location_id = null,
    status = case when h.active then 'cancelled' else c.status end, ended_at = coalesce(c.ended_at, now())
  from held h where c.id = h.id
  returning c.id, case when h.active then pg_notify('${CODES_CHANNEL}', c.id::text) end, h.active as was_active
), event as (
  insert into events (id, type, code_id, traceparent) select gen_random_uuid(), 'pairing_code.cancelled', id, $7 from forgotten where was_active
), changed as (
  select $5::uuid as id from forgotten where $5::uuid is not null limit 1
), ${audited('user.forget', '$6::jsonb')}
select (select count(*)::int from theirs) as found, (select count(*)::int from forgotten) as forgotten`;

/**
 * Selects a batch of a user's pairings. The condition on `ended_at` lets the planner use the indexes of active and of
 * ended ones.
 */
const SOME_PAIRINGS = `
select id from pairings
where user_id = $1 and (ended_at is null or ended_at is not null) and paired_at <= $2 limit ${PAIRINGS_BATCH}`;

/**
 * Erases a batch of a user's pairings and their codes. `erasures` records what remains to be erased. A pending notification keeps
 * its uid until it is delivered.
 */
const FORGET_PAIRINGS = `
with theirs as (
  select p.id, p.cpo_id, p.code_id, p.station_uid, p.ended_at is null as active, s.uid, s.payload_protocol
  from pairings p left join stations s on s.pairing_id = p.id
  where p.id = any($8) and p.user_id = $3 and p.paired_at <= $4
  order by p.id for update of p
), forgotten as (
  update pairings p
  set user_id = null, charging_location_id = null, station_uid = null,
    ended_at = coalesce(p.ended_at, greatest(clock_timestamp(), p.paired_at)), ended_by = coalesce(p.ended_by, 'app')
  from theirs where theirs.id = p.id
), code as (
  update pairing_codes set user_id = null, charging_location_id = null where id = any (array(select code_id from theirs))
), left_over as (
  insert into erasures (pairing_id, station_uid) select id, station_uid from theirs where station_uid is not null
), event as (
  insert into events (id, type, pairing_id, cpo_id, reason, traceparent)
  select gen_random_uuid(), e.type, id, cpo_id, e.reason, $7
  from theirs cross join (values (1, 'station.unpaired', 'user_forgotten'), (2, 'pairing.erased', null)) e (n, type, reason)
  where active or e.type = 'pairing.erased'
  order by id, e.n
), changed as (
  select $5::uuid as id from theirs where $5::uuid is not null limit 1
), ${audited('user.forget', '$6::jsonb')}
select id as "pairingId", cpo_id as "cpoId", uid, payload_protocol as "payloadProtocol", active,
  pg_notify('${EVENTS_CHANNEL}', '${UNPUBLISHED}') from theirs`;

/**
 * Erases the data that identifies a user, unpairs their stations and notifies the CPOs (contract, section 6). Afterwards no API
 * shows anything of the user; `completeErasuresOf` deletes the remaining stations and uids. Works in batches of one transaction
 * each, the first of which writes the audit entry. A repeated call continues after a failure.
 * @throws Problem `unavailable` when the database is unavailable or the deadline has passed
 */
export async function forgetUser(ctx: Forgetting, userId: string, options: ForgetOptions = {}): Promise<Forgotten> {
  const { deadline = Number.POSITIVE_INFINITY } = options;
  const before = options.before?.toISOString() ?? 'infinity';
  const hashes = subjectHashes(ctx.keys, 'user', userId);
  const userHash = hashSubject(ctx.keys, 'user', userId).toString('hex');
  let codes = 0;
  const pairingIds: string[] = [];
  /** Returns the parameters of a batch. The first batch that erases something also writes the audit entry. */
  const batch = () => [
    ...auditParameters(ctx),
    userId,
    before,
    codes + pairingIds.length === 0 ? subjectId(userHash) : null,
    JSON.stringify({ user_hash: userHash }),
    storedTrace(options.origin),
  ];
  const checkDeadline = () => {
    if (performance.now() > deadline) throw new Problem('unavailable');
  };

  await rows(ctx.db, REVOKE_REDEMPTIONS, [hashes, before]);
  for (let found = 1; found > 0; checkDeadline()) {
    const [done] = await rows<{ found: number; forgotten: number }>(ctx.db, FORGET_CODES, batch());
    codes += done?.forgotten ?? 0;
    found = done?.found ?? 0;
  }
  await forgetRedemptions(ctx, userId, before);
  for (;;) {
    const some = await rows<{ id: string }>(ctx.db, SOME_PAIRINGS, [userId, before]);
    if (some.length === 0) break;
    const ids = some.map(({ id }) => id);
    const done = await transaction(ctx.db, async (tx) => {
      const forgotten = await rows<Notification & { active: boolean }>(tx, FORGET_PAIRINGS, [...batch(), ids]);
      await enqueue(
        tx,
        forgotten.filter(({ active }) => active),
        options.origin,
      );
      await eraseDeadLettered(
        tx,
        forgotten.map(({ pairingId }) => pairingId),
      );
      return forgotten;
    });
    for (const { pairingId, cpoId, active } of done) {
      pairingIds.push(pairingId);
      if (active) ctx.metrics.stationUnpaired('app', pairingId, cpoId, options.origin);
    }
    checkDeadline();
  }
  ctx.metrics.userForgotten({ user_hash: userHash, pairings: pairingIds.length }, options.origin);
  return { userHash, codes, pairingIds };
}

/** Returns the subject of the audit entry, which must be a uuid: the first half of the hash. */
function subjectId(userHash: string): string {
  return userHash.slice(0, 32);
}

/** Deletes rows of the previous version. This version counts redemptions under a keyed hash. */
async function forgetRedemptions(ctx: Forgetting, userId: string, before: string): Promise<void> {
  const sql = 'delete from redemptions where user_id = $1 and tried_at <= $2 returning id';
  await rows(ctx.db, `with gone as (${sql}) select count(*)::int as count from gone`, [userId, before]);
}
