import type { Config } from '../config';
import { BATCH, LOCK, type RetentionRule } from './rule';

const keepEvents = ({ eventsKeepDays }: Config) => eventsKeepDays;

/** If the oldest event is not due, only that one is read. */
const EVENTS = (limit: number) => `
select o.ctid from (
  select ctid, published_at from events
  where position is not null and (
    select published_at from events where position is not null order by position limit 1) < now() - make_interval(days => $1)
  order by position limit ${limit}
) o where o.published_at < now() - make_interval(days => $1)`;

/**
 * Removes the oldest published events, and records the last position removed, in the same commit: a follower who is behind it has
 * missed events and gets a 410.
 */
const REMOVE_EVENTS = `
with ${LOCK}, removed as (
  delete from events where (select locked from lock) and ctid = any (array(${EVENTS(BATCH)})) returning position
), moved as (
  update event_feed set deleted_position = greatest(deleted_position, (select max(position) from removed))
  where exists (select from removed)
)
select locked, (select count(*)::int from removed) as count from lock`;

/** Events of 0.1 and 0.2.0, which were never published. */
const FORMER_EVENTS = (limit: number) => `
select o.ctid from (
  select ctid, occurred_at from events where seq is null order by id limit ${limit}
) o where o.occurred_at < now() - make_interval(days => $1)`;

/** Deliveries of events that were removed. */
const DELIVERIES = (limit: number) => `
select d.ctid from webhook_endpoints w cross join lateral (
  select ctid from webhook_deliveries
  where endpoint_id = w.id and position <= (select deleted_position from event_feed) order by position limit ${limit}
) d
limit ${limit}`;

const DELETED_ENDPOINTS_DELIVERIES = (limit: number) => `
select d.ctid from webhook_endpoints w cross join lateral (
  select ctid from webhook_deliveries where endpoint_id = w.id order by position limit ${limit}
) d
where w.deleted_at is not null limit ${limit}`;

/** Deleted webhook endpoints that have no deliveries any more. Their gaps are deleted with them. */
const DELETED_ENDPOINTS = (limit: number) => `
select w.ctid from webhook_endpoints w
where w.deleted_at < now() - interval '1 minute'
  and (select d.position from webhook_deliveries d where d.endpoint_id = w.id limit 1) is null
limit ${limit}`;

/** Gaps of which no event is kept. */
const GAPS = (limit: number) =>
  `select ctid from webhook_gaps where until_position <= (select deleted_position from event_feed) limit ${limit}`;

const SECRETS = (limit: number) => `select ctid from webhook_secrets where expires_at < now() limit ${limit}`;

export const EVENT_RULES: readonly RetentionRule[] = [
  { name: 'events', table: 'events', due: EVENTS, keepDays: keepEvents, remove: REMOVE_EVENTS },
  { name: 'events of former versions', table: 'events', due: FORMER_EVENTS, keepDays: keepEvents },
  { name: 'webhook deliveries', table: 'webhook_deliveries', due: DELIVERIES },
  {
    name: 'deliveries of deleted webhook endpoints',
    table: 'webhook_deliveries',
    due: DELETED_ENDPOINTS_DELIVERIES,
  },
  { name: 'deleted webhook endpoints', table: 'webhook_endpoints', due: DELETED_ENDPOINTS },
  { name: 'webhook gaps', table: 'webhook_gaps', due: GAPS },
  { name: 'webhook secrets', table: 'webhook_secrets', due: SECRETS },
];
