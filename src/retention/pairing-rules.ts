import type { Config } from '../config';
import { LOCK, type RetentionRule } from './rule';

/** Events tell of a pairing for as long after its end as its CPO is notified (7 days), and are published within another day. */
const EVENTS_AFTER_END_DAYS = 8;
const keepPairings = ({ pairingsKeepDays, eventsKeepDays }: Config) =>
  Math.max(pairingsKeepDays, eventsKeepDays + EVENTS_AFTER_END_DAYS);

/** Events refer to the codes, and are published later after an outage. */
const keepCodes = ({ eventsKeepDays }: Config) => eventsKeepDays + 1;

/** Bounds what the rows of a batch take with them: a station has up to 2,000 connectors, a usual one three. */
const PAIRINGS_BATCH = 250;
const CONNECTORS_BATCH = 1_000;

/** A pairing whose CPO is still to be notified is kept until then. The condition on -infinity chooses the index. */
const ENDED_PAIRINGS = (limit: number) => `
select p.ctid from pairings p
where p.ended_at > '-infinity' and p.ended_at < now() - make_interval(days => $1)
  and not exists (select from outbox o where o.pairing_id = p.id and o.gave_up_at is null)
order by p.ended_at limit ${limit}`;

/**
 * Removes ended pairings with their codes, stations, EVSEs, connectors and dead-lettered notifications: those before the one that
 * exceeds the connectors of a batch. `scsp_remove_pairings_v1` deletes them, because the service itself may not.
 */
const REMOVE_ENDED_PAIRINGS = `
with ${LOCK}, due as materialized (
  select id from pairings
  where (select locked from lock) and ctid = any (array(${ENDED_PAIRINGS(PAIRINGS_BATCH)})) for update skip locked
), sized as (
  select id, sum((select count(*) from connectors c where c.pairing_id = due.id)) over (
    order by id rows between unbounded preceding and 1 preceding) as before
  from due
), batch as (
  select array_agg(id) as ids from sized where coalesce(before, 0) < ${CONNECTORS_BATCH}
)
select locked, scsp_remove_pairings_v1(ids) as count from lock, batch`;

/** Codes that ended without pairing. One that has expired may not be marked as such yet. `-infinity`: see the migration of the index. */
const UNPAIRED_CODES = (limit: number) => `
(select ctid from pairing_codes
 where status in ('expired', 'cancelled') and ended_at > '-infinity' and ended_at < now() - make_interval(days => $1)
 order by ended_at limit ${limit})
union all
(select ctid from pairing_codes
 where status = 'active' and ended_at is null and expires_at < now() - make_interval(days => $1)
 order by expires_at limit ${limit})
limit ${limit}`;

/** Notifications that were given up, of pairings that were never stored here: others go with their pairing. */
const DEAD_LETTERED = (limit: number) => `
select ctid from outbox
where gave_up_at is not null and gave_up_at < now() - make_interval(days => $1) order by gave_up_at limit ${limit}`;

/** Dead-lettered notifications of forgotten users: a concurrent erasure may have missed the uid. All dead-lettered ones are read. */
const DEAD_LETTERED_OF_FORGOTTEN = (limit: number) => `
select o.ctid from outbox o
where o.gave_up_at is not null and (select p.user_id is null from pairings p where p.id = o.pairing_id)
limit ${limit}`;

/** Attempts to redeem, in the table of this version and in that of 0.1, which limits count for ten minutes. */
const redeemedBefore = (table: string, time: string) => (limit: number) =>
  `select ctid from ${table} where ${time} < now() - interval '1 day' order by ${time} limit ${limit}`;

export const PAIRING_RULES: readonly RetentionRule[] = [
  {
    name: 'ended pairings',
    table: 'pairings',
    due: ENDED_PAIRINGS,
    keepDays: keepPairings,
    remove: REMOVE_ENDED_PAIRINGS,
  },
  { name: 'unpaired codes', table: 'pairing_codes', due: UNPAIRED_CODES, keepDays: keepCodes },
  { name: 'dead-lettered notifications', table: 'outbox', due: DEAD_LETTERED, keepDays: keepPairings },
  { name: 'notifications of forgotten users', table: 'outbox', due: DEAD_LETTERED_OF_FORGOTTEN },
  { name: 'redemptions', table: 'redemptions', due: redeemedBefore('redemptions', 'tried_at') },
  {
    name: 'redemption attempts',
    table: 'redemption_attempts',
    due: redeemedBefore('redemption_attempts', 'began_at'),
  },
];
