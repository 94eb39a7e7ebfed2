import type { Context } from '../context';
import { rows, transaction } from '../db/database';
import { enqueue, eraseGivenUp, type Notification } from '../outbox/outbox';
import { Problem } from '../problems';
import { stationKey } from '../stations/station';
import type { Origin } from '../trace-context';

type Ended = { pairingId: string; cpoId: string };

const BY_CPO = `
with ended as (
  update pairings set ended_at = now(), ended_by = 'cpo'
  where station_uid = $1 and ended_at is null and cpo_id = $3
  returning id, cpo_id
), event as (
  insert into events (id, type, pairing_id, cpo_id) select $2, 'station.unpaired', id, cpo_id from ended
)
select id as "pairingId", cpo_id as "cpoId" from ended`;

/**
 * A CPO unpairs a station of its own; afterwards the uid can be paired again (contract, section 6).
 * @throws Problem `unknown-station`, the same for unknown, unpaired and foreign ones
 */
export async function unpairByCpo(ctx: Context, cpoId: string, uid: string): Promise<void> {
  const [ended] = await rows<Ended>(ctx.db, BY_CPO, [stationKey(uid), ctx.chance.uuid(), cpoId]);
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.events.stationUnpaired('cpo', ended.pairingId, cpoId);
}

const BY_APP = `
with ended as (
  update pairings set ended_at = now(), ended_by = 'app'
  where station_uid = $1 and ended_at is null
  returning id, cpo_id
), event as (
  insert into events (id, type, pairing_id, cpo_id) select $2, 'station.unpaired', id, cpo_id from ended
)
select e.id as "pairingId", e.cpo_id as "cpoId", s.uid, s.payload_protocol as "payloadProtocol"
from ended e join stations s on s.pairing_id = e.id`;

/**
 * Unpairs a station for its customer at once, and has the CPO notified: both are committed together.
 * @throws Problem `unknown-station`
 */
export async function unpairForCustomer(ctx: Context, uid: string, origin: Origin): Promise<void> {
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await rows<Notification>(tx, BY_APP, [stationKey(uid), ctx.chance.uuid()]);
    await enqueue(tx, found, origin);
    return found;
  });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.events.stationUnpaired('app', ended.pairingId, ended.cpoId);
}

/** A user's pairings, said so that the index of those that last and the index of those that have ended are used. */
const THEIRS = 'p.user_id = $1 and (p.ended_at is null or p.ended_at is not null)';

/** Each kind of code by its own index. One that pairs in this very moment is waited for, and is still theirs. */
const FORGET_CODES = `
update pairing_codes
set user_id = null, charging_location_id = null,
  status = case when status = 'active' then 'cancelled' else status end, ended_at = coalesce(ended_at, now())
where user_id = $1 and id = any (array(
  select id from pairing_codes where user_id = $1 and status = 'active'
  union all select id from pairing_codes where user_id = $1 and status in ('expired', 'cancelled')
  union all select p.code_id from pairings p where ${THEIRS}))`;

/** What a try was made with is replaced by something that tells nobody anything; it goes on to count. */
const FORGET_TRIES = `
update cpo_tries t
set wrong_uid = array(
  select coalesce((select min(p.id::text) from pairings p where ${THEIRS} and p.station_uid = w.uid), w.uid)
  from unnest(t.wrong_uid) with ordinality w (uid, n) order by n)
where wrong_uid && array(select station_uid from pairings p where ${THEIRS} and station_uid is not null)`;

const FORGET_PAIRINGS = `
with theirs as (
  select p.id, p.cpo_id, p.station_uid, p.ended_at is null as active, s.uid, s.payload_protocol
  from pairings p left join stations s on s.pairing_id = p.id
  where ${THEIRS} for update of p
), forgotten as (
  update pairings p
  set user_id = null, charging_location_id = null, station_uid = null,
    ended_at = coalesce(p.ended_at, now()), ended_by = coalesce(p.ended_by, 'app')
  from theirs where theirs.id = p.id
), erased as (
  delete from stations where pairing_id in (select id from theirs)
), traces as (
  select cpo_id, id from attempts where lower(uid) = any (array(select station_uid from theirs))
  order by cpo_id, id for no key update
), effaced as (
  update attempts a set uid = null, detail = null from traces t where a.cpo_id = t.cpo_id and a.id = t.id
), event as (
  insert into events (id, type, pairing_id, cpo_id)
  select gen_random_uuid(), 'station.unpaired', id, cpo_id from theirs where active
)
select id as "pairingId", cpo_id as "cpoId", uid, payload_protocol as "payloadProtocol" from theirs where active`;

/**
 * Erases what identifies a user and frees their stations; the CPOs are told. That there were pairings stays known.
 * A pairing under way with one of their codes is waited for, and forgotten as well.
 *
 * The tries of a CPO are locked by whoever pairs there, who may wait for a uid that is being freed here: they have a
 * commit of their own, before the one that forgets which uids these were. A failure between leaves the rest to a retry.
 */
export async function forgetUser(ctx: Context, userId: string, origin: Origin): Promise<void> {
  await rows(ctx.db, FORGET_CODES, [userId]);
  await rows(ctx.db, FORGET_TRIES, [userId]);
  const ended = await transaction(ctx.db, async (tx) => {
    const freed = await rows<Notification>(tx, FORGET_PAIRINGS, [userId]);
    await rows(tx, 'delete from redemptions where user_id = $1', [userId]);
    await eraseGivenUp(tx);
    await enqueue(tx, freed, origin);
    return freed;
  });
  for (const { pairingId, cpoId } of ended) ctx.events.stationUnpaired('app', pairingId, cpoId);
}
