import type { Database } from '../db/pool';
import { rowsInIndexOrder } from '../db/query';
import { type EventType, typesFor } from '../events/events';
import type { Owned } from './owned';

export type DeliveryStatus = 'pending' | 'delivered' | 'failed' | 'skipped';

export type DeliverySummary = {
  readonly eventId: string;
  readonly type: EventType;
  readonly position: string;
  readonly status: DeliveryStatus;
  readonly attempts: number;
  readonly nextAttemptAt: Date | null;
  readonly lastStatus: number | null;
  readonly lastDurationMs: number | null;
  readonly lastError: string | null;
};

/** Selects the latest deliveries of an endpoint for which a condition holds. */
const latest = (condition: string, position = 'd.position') =>
  `(select d.* from webhook_deliveries d
    where d.endpoint_id = w.id and d.position < $3::bigint and ${condition} order by ${position} desc limit $4)`;

/**
 * Reads all pending deliveries of the endpoint, which have an index of their own, though not by position. "+ 0" keeps the planner from
 * reading all its deliveries to find them.
 */
const latestPending = (status: 'enabled' | 'disabled') =>
  latest(`d.status = 'pending' and w.status = '${status}'`, 'd.position + 0');

/** Pending deliveries of a disabled endpoint count as skipped until they are recorded as such. */
const STORED: Readonly<Record<DeliveryStatus, string>> = {
  pending: latestPending('enabled'),
  delivered: latest(`d.status = 'delivered'`),
  failed: latest(`d.status = 'failed'`),
  skipped: `${latest(`d.status = 'skipped'`)} union all ${latestPending('disabled')}`,
};

/**
 * Selects deliveries before a position, the latest first. Most skipped ones are not stored: they are the events of matching types
 * in the gaps during which the endpoint was disabled.
 *
 * | step   | reads                                                                                             |
 * |--------|---------------------------------------------------------------------------------------------------|
 * | stored | `webhook_deliveries` from the end of the endpoint's range                                         |
 * | missed | for each gap and type, `events` from the end of its range, not below the oldest stored one needed |
 * | last   | the events of the page, by their positions                                                        |
 */
const selectDeliveries = (status: DeliveryStatus | undefined) => `
with endpoint as (
  select w.id, w.app_name, coalesce(w.types, $5::text[]) as types, w.status, w.disabled_after,
    (select last_position from event_feed) as last_position
  from webhook_endpoints w
  where w.id = $1 and w.app_name = $2 and w.deleted_at is null
), stored as (
  select d.position, case when d.status = 'pending' and w.status = 'disabled' then 'skipped' else d.status end as status,
    d.attempts, d.next_attempt_at, d.last_status, d.last_duration_ms, d.last_error
  from endpoint w cross join lateral (
    ${status === undefined ? latest('true') : STORED[status]}
  ) d
  order by d.position desc limit $4
), needed as (
  select case when count(*) < $4 then 0 else min(position) end as after_position from stored
), gap as (
  select g.after_position, g.until_position from endpoint w join webhook_gaps g on g.endpoint_id = w.id
  union all
  select w.disabled_after, w.last_position from endpoint w where w.status = 'disabled'
), missed as (
  select e.position
  from endpoint w cross join needed n cross join gap g cross join lateral unnest(w.types) t (type)
  cross join lateral (
    select o.position from events o
    where (o.type, o.position) > (t.type, greatest(g.after_position, n.after_position))
      and (o.type, o.position) <= (t.type, least(g.until_position, $3::bigint - 1))
      and o.position is not null and (o.app_name is null or o.app_name = w.app_name)
      -- The planner may turn "not exists" into a join that reads all events of the gap.
      and (select d.position from webhook_deliveries d where d.endpoint_id = w.id and d.position = o.position) is null
    order by o.type desc, o.position desc limit $4
  ) e
  where ${status === undefined || status === 'skipped'}
  order by e.position desc limit $4
), page as (
  select * from stored
  union all
  select position, 'skipped', 0, null, null, null, null from missed
  order by position desc limit $4
)
select e.id as "eventId", e.type, p.position, p.status, p.attempts,
  case when p.status = 'pending' then p.next_attempt_at end as "nextAttemptAt",
  p.last_status as "lastStatus", p.last_duration_ms as "lastDurationMs", p.last_error as "lastError"
from page p join events e on e.position = p.position
order by p.position desc`;

/**
 * Returns the deliveries of an endpoint before a position, the latest first; none of an unknown endpoint.
 * @param status undefined: all
 */
export function listDeliveries(
  db: Database,
  { id, app }: Owned,
  status: DeliveryStatus | undefined,
  before: string,
  limit: number,
): Promise<DeliverySummary[]> {
  return rowsInIndexOrder(db, selectDeliveries(status), [id, app, before, limit, typesFor({ app })]);
}
