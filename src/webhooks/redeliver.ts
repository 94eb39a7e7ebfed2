import type { WriteAudit } from '../audit/audit';
import type { Context } from '../context';
import type { Database } from '../db/pool';
import { rows, rowsInIndexOrder, transaction } from '../db/query';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';
import { typesFor } from '../events/events';
import { Problem } from '../problems';
import { WEBHOOKS_CHANNEL } from './channel';
import { type Owned, requireId } from './owned';

const BATCH = 500;
/** A redelivery waits while an endpoint has more deliveries that are due. Those in a pause after a failure do not count. */
const MAX_DUE = 1_000;
const EVERY_MS = 1_000;
/** How much the clocks of a primary and of its successor may differ. */
const CLOCK_TOLERANCE = `interval '5 minutes'`;

/** The payload that is sent when a redelivery begins. */
const REDELIVER = 'redeliver';

const WAKE = `pg_notify('${WEBHOOKS_CHANNEL}', '')`;

/** A row that is leased keeps its lease, so that the limit on concurrent calls holds. */
const QUEUE_AGAIN = `
on conflict (endpoint_id, position) do update
set status = 'pending', attempts = 0, next_attempt_at = greatest(now(), webhook_deliveries.leased_until)`;

const matches = (event: string, endpoint: string, visible: string) => `
${event}.position is not null and ${event}.type = any (coalesce(${endpoint}.types, ${visible}::text[]))
and (${event}.app_name is null or ${event}.app_name = ${endpoint}.app_name)`;

const REDELIVER_EVENT = `
with endpoint as (
  select id, app_name, types, status, redeliver_until is not null as busy
  from webhook_endpoints where id = $1 and app_name = $2 and deleted_at is null for no key update
), event as (
  select e.position from endpoint w join events e on e.id = $3 and ${matches('e', 'w', '$4')}
), queued as (
  insert into webhook_deliveries (endpoint_id, position)
  select w.id, e.position from endpoint w cross join event e where w.status = 'enabled' and not w.busy
  ${QUEUE_AGAIN}
  returning ${WAKE}
)
select w.status, w.busy, (select count(*)::int from queued) as queued from endpoint w`;

type Redelivered = { readonly status: 'enabled' | 'disabled'; readonly busy: boolean; readonly queued: number };

/**
 * Delivers one event again, under the same id.
 * @throws Problem `not-found` for an unknown endpoint, and for an event that is not in the feed or not for this endpoint;
 *   `endpoint-disabled`, `redelivery-in-progress`
 */
export async function redeliverEvent(
  db: Database,
  { id, app }: Owned,
  eventId: string,
  audit?: WriteAudit,
): Promise<void> {
  requireId(id);
  requireId(eventId);
  const work = async (tx: Pick<Database, 'query'>) => {
    const [found] = await rows<Redelivered>(tx, REDELIVER_EVENT, [id, app, eventId, typesFor({ app })]);
    requireIdle(found);
    if (found.queued === 0) throw new Problem('not-found');
    await audit?.(tx);
  };
  await transaction(db, work, 'READ COMMITTED');
}

function requireIdle<Found extends Omit<Redelivered, 'queued'>>(found: Found | undefined): asserts found is Found {
  if (found === undefined) throw new Problem('not-found');
  if (found.status === 'disabled') throw new Problem('endpoint-disabled');
  if (found.busy) throw new Problem('redelivery-in-progress');
}

/**
 * Finds the last position before an instant by binary search: `published_at` ascends with the position, and is not before
 * `occurred_at`. There may be gaps between positions.
 */
const POSITION_BEFORE = `
with recursive search as (
  select deleted_position as low, last_position as high from event_feed
  union all
  select case when step.found is null or step.is_before then s.mid else s.low end,
    case when step.found is null or step.is_before then s.high else step.found - 1 end
  from (select low, high, low + (high - low + 1) / 2 as mid from search where low < high) s
  left join lateral (
    select e.position as found, e.published_at < $1::timestamptz - ${CLOCK_TOLERANCE} as is_before from events e
    where e.position > s.low and e.position <= s.mid order by e.position desc limit 1
  ) step on true
)
select low as position from search where low >= high limit 1`;

const START = `
with endpoint as (
  select id, status, redeliver_until is not null as busy
  from webhook_endpoints where id = $1 and app_name = $2 and deleted_at is null for no key update
), started as (
  update webhook_endpoints w
  set redeliver_after = $3, redeliver_until = (select last_position from event_feed), redeliver_since = $4
  from endpoint e where w.id = e.id and e.status = 'enabled' and not e.busy
  returning pg_notify('${WEBHOOKS_CHANNEL}', '${REDELIVER}')
)
select status, busy, (select count(*)::int from started) as started from endpoint`;

/**
 * Begins to deliver all events since an instant again, under the same ids. A job queues them in batches.
 * @throws Problem `not-found`, `endpoint-disabled`, `redelivery-in-progress`
 */
export async function redeliverSince(db: Database, { id, app }: Owned, since: Date, audit?: WriteAudit): Promise<void> {
  requireId(id);
  const [start] = await rowsInIndexOrder<{ position: string }>(db, POSITION_BEFORE, [since]);
  const values = [id, app, start?.position ?? '0', since];
  const work = async (tx: Pick<Database, 'query'>) => {
    const [found] = await rows<Omit<Redelivered, 'queued'>>(tx, START, values);
    requireIdle(found);
    await audit?.(tx);
  };
  await transaction(db, work, 'READ COMMITTED');
}

/**
 * Queues the next batch of a redelivery in the order of positions, and ends the redelivery after the last one. Rows are compared and
 * ordered so that only the index on type and position fits, and events of other types are not read.
 */
export const QUEUE_BATCH = `
with endpoint as (
  select id, app_name, types, redeliver_after, redeliver_until, redeliver_since
  from webhook_endpoints
  where id = $1 and redeliver_until is not null and status = 'enabled' and deleted_at is null for no key update
), backlog as (
  select count(*) > ${MAX_DUE} as full
  from (
    select from webhook_deliveries
    where endpoint_id = $1 and status = 'pending' and next_attempt_at <= now() limit ${MAX_DUE + 1}
  ) due
), batch as (
  select e.position
  from endpoint w join backlog b on not b.full
  cross join lateral unnest(coalesce(w.types, $2::text[])) t (type)
  cross join lateral (
    select o.position from events o
    where (o.type, o.position) > (t.type, w.redeliver_after) and (o.type, o.position) <= (t.type, w.redeliver_until)
      and o.position is not null and o.occurred_at >= w.redeliver_since and (o.app_name is null or o.app_name = w.app_name)
    order by o.type, o.position limit ${BATCH}
  ) e
  order by e.position limit ${BATCH}
), queued as (
  insert into webhook_deliveries (endpoint_id, position) select $1, position from batch
  ${QUEUE_AGAIN}
  returning ${WAKE}
), size as (
  select count(*) = ${BATCH} as more, max(position) as last from batch
), moved as (
  update webhook_endpoints w
  set redeliver_after = case when s.more then s.last end,
    redeliver_until = case when s.more then w.redeliver_until end,
    redeliver_since = case when s.more then w.redeliver_since end
  from endpoint e, backlog b, size s where w.id = e.id and not b.full
  returning w.redeliver_until is not null as more
)
select m.more, (select count(*) from queued) from moved m`;

/**
 * Queues the events of all redeliveries in progress, as far as the endpoints keep up.
 * @throws Problem `unavailable`
 */
export async function queueRedeliveries(ctx: Pick<Context, 'db' | 'stopping'>): Promise<void> {
  const found = await rows<{ id: string; app: string }>(
    ctx.db,
    `select id, app_name as app from webhook_endpoints
     where redeliver_until is not null and status = 'enabled' and deleted_at is null order by id`,
  );
  for (const { id, app } of found)
    for (let more = true; more && !ctx.stopping.aborted; ) {
      const values = [id, typesFor({ app })];
      const [moved] = await rowsInIndexOrder<{ more: boolean }>(ctx.db, QUEUE_BATCH, values, 'READ COMMITTED');
      more = moved?.more ?? false;
    }
}

/** Queues redeliveries until stopped: at once when one begins, and every second for those that wait. */
export function startRedeliveries(ctx: Context): PeriodicJob {
  const wakeOn = (wake: () => void) => [ctx.listener.on(WEBHOOKS_CHANNEL, wake, REDELIVER)];
  return startPeriodic({ name: 'redelivery of webhook events', everyMs: EVERY_MS, wakeOn, ...ctx }, () =>
    queueRedeliveries(ctx),
  );
}
