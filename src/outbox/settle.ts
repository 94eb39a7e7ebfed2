import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { rows } from '../db/query';
import { EVENTS_CHANNEL, UNPUBLISHED } from '../events/events';
import { OUTBOX_CHANNEL } from './outbox';

/** The number of the latest calls to a CPO among which the last failed one is looked for. */
const LATEST_CALLS = 100;
/** The maximum number of notifications that a success makes due: a CPO that refuses some of them for good gets few more calls. */
const WOKEN = 2;

/**
 * Deletes a notification. `$3`: whether the CPO was notified, or the station was paired again before. Each success makes two others
 * due that back off, so that a CPO that answers again soon has them all. Returns the seconds since the notification was stored; if a
 * call of any replica has failed since then, those since the first call that the CPO answered after the last failed one.
 */
const SETTLE = `
with settled as (
  delete from outbox where id = $1 returning pairing_id, cpo_id, attempts, created_at, traceparent
), event as (
  insert into events (id, type, pairing_id, cpo_id, attempts, traceparent)
  select $2, 'cpo.notified', pairing_id, cpo_id, attempts, traceparent from settled where $3 and pairing_id is not null
  returning pg_notify('${EVENTS_CHANNEL}', '${UNPUBLISHED}')
), woken as (
  update outbox o set next_attempt_at = now()
  from settled s cross join lateral (
    select id from outbox
    where cpo_id = s.cpo_id and gave_up_at is null and next_attempt_at > now() + interval '1 minute'
      and attempts > 0 and leased_until is null
    order by next_attempt_at limit ${WOKEN} for update skip locked
  ) waiting
  where $3 and o.id = waiting.id
  returning pg_notify('${OUTBOX_CHANNEL}', '')
), latest as (
  select c.outcome, c.called_at + make_interval(secs => c.duration_ms / 1000.0) as ended_at
  from settled s cross join lateral (
    select * from calls where cpo_id = s.cpo_id order by id desc limit ${LATEST_CALLS}
  ) c
), failed as (
  select max(ended_at) as ended_at from latest where outcome not in ('answered', 'incorrect-code', 'interrupted')
), answering as (
  -- This call may be the first one, and is not stored yet.
  select coalesce(min(l.ended_at), now()) as since
  from failed f join settled s on f.ended_at > s.created_at
  left join latest l on l.ended_at > f.ended_at and l.outcome in ('answered', 'incorrect-code')
  having count(f) > 0
)
select (select count(*) from event), (select count(*) from woken),
  greatest(0, extract(epoch from now() - greatest(s.created_at, (select since from answering))))::float8 as "delaySeconds"
from settled s`;

/** A notification that a CPO has accepted, or that is not needed: the station is paired with the CPO again. */
type Settled = {
  readonly id: string;
  readonly pairingId: string | null;
  readonly cpoId: string;
  readonly origin: Origin;
  readonly pairedAgain: boolean;
};

/** Removes a notification from the outbox, and records it. */
export async function settle(ctx: Context, { id, pairedAgain, ...delivery }: Settled): Promise<void> {
  const values = [id, ctx.random.uuid(), !pairedAgain];
  const [settled] = await rows<{ delaySeconds: number }>(ctx.db, SETTLE, values);
  if (pairedAgain) ctx.metrics.notificationSkipped(delivery);
  else ctx.metrics.cpoNotified(delivery, settled?.delaySeconds);
}
