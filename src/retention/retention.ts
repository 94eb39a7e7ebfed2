import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { ADVISORY_LOCKS } from '../db/locks';
import { rows, rowsInIndexOrder } from '../db/query';

type RetentionContext = Pick<Context, 'config' | 'db' | 'log' | 'stopping'>;

/** Keeps each statement well below its time-out, and its row locks short. */
const BATCH = 1_000;
/** The pause after a batch, in units of its duration, so that a backlog uses at most a fifth of a core. */
const PAUSE_FACTOR = 4;
/** When the cleanup first runs after the start, and then how often. */
export const RETENTION_TIMES: RetentionTimes = { firstMs: 60_000, everyMs: 600_000 };

/**
 * Builds a statement that deletes a batch of rows, skipping locked ones.
 * @param expired SQL that selects the `ctid` of the rows to delete
 */
const deleteBatch = (table: string, expired: string) => `
with lock as materialized (
  select pg_try_advisory_xact_lock(${ADVISORY_LOCKS.retention}) as locked
), removed as (
  delete from ${table} where ctid = any (array(
    select ctid from ${table}
    where (select locked from lock) and ctid = any (array(${expired} limit ${BATCH})) for update skip locked))
  returning 1
)
select locked, (select count(*)::int from removed) as count from lock`;

/**
 * Ids of attempts are UUIDv7, so each CPO's oldest attempts are read from the start of its range of the primary key. A
 * separate index on the time would slow down every pairing.
 */
const ATTEMPTS = `
select a.ctid from cpos c cross join lateral (
  select ctid, attempted_at from attempts where cpo_id = c.id order by id limit ${BATCH}
) a where a.attempted_at < now() - make_interval(days => $1)`;

/** Limits the attempts kept per CPO and uid; the newest are kept. */
const ATTEMPTS_KEPT_PER_UID = 100;
/** Sets how many of each CPO's newest attempts are searched for uids that are sent repeatedly. */
const SAMPLE_SIZE = 200;

/**
 * Selects the attempts beyond the newest of a CPO and uid: a CPO that repeats a rejected request every ten seconds
 * makes 260,000 a month. A uid with a share r of its CPO's attempts is in the sample with a probability of at least r,
 * which bounds the backlog whatever the CPO's request rate.
 */
const REPEATED = `
select beyond.ctid
from (
  select distinct c.id as cpo_id, lower(recent.uid collate "C") as uid
  from cpos c cross join lateral (
    select uid, outcome from attempts where cpo_id = c.id order by id desc limit ${SAMPLE_SIZE}
  ) recent
  where recent.outcome <> 'paired' and recent.uid is not null
) sample cross join lateral (
  select a.ctid from attempts a
  where lower(a.uid collate "C") = sample.uid and a.cpo_id = sample.cpo_id
  order by a.id desc offset ${ATTEMPTS_KEPT_PER_UID} limit ${BATCH}
) beyond`;

/** Selects failed attempts that no limit counts any more: older than the longest window plus an hour. */
const FAILED_ATTEMPTS = `
select f.ctid from cpos c cross join lateral (
  select ctid, failed_at from failed_attempts where cpo_id = c.id order by failed_at limit ${BATCH}
) f where f.failed_at < now() - interval '25 hours'`;

/** Selects dead-lettered notifications of forgotten users: a concurrent erasure may have missed the uid. */
const DEAD_LETTERED = `
select o.ctid from outbox o
where o.gave_up_at is not null and exists (select from pairings p where p.id = o.pairing_id and p.user_id is null)`;

/**
 * Deletes the oldest published events, and records the last position deleted, in the same commit: a follower who is behind it has
 * missed events and gets a 410.
 */
const DELETE_EVENTS = `
with lock as materialized (
  select pg_try_advisory_xact_lock(${ADVISORY_LOCKS.retention}) as locked
), expired as (
  select o.ctid from (
    select ctid, published_at from events where position is not null order by position limit ${BATCH}
  ) o where o.published_at < now() - make_interval(days => $1)
), removed as (
  delete from events where ctid = any (array(select ctid from expired where (select locked from lock))) returning position
), moved as (
  update event_feed set deleted_position = greatest(deleted_position, (select max(position) from removed))
  where exists (select from removed)
)
select locked, (select count(*)::int from removed) as count from lock`;

/** Selects events of 0.1 and 0.2.0, which were never published. */
const FORMER_EVENTS = `
select o.ctid from (
  select ctid, occurred_at from events where seq is null order by id limit ${BATCH}
) o where o.occurred_at < now() - make_interval(days => $1)`;

/** Selects deliveries of deleted events. */
const DELIVERIES = `
select d.ctid from webhook_endpoints w cross join lateral (
  select ctid, position from webhook_deliveries where endpoint_id = w.id order by position limit ${BATCH}
) d where d.position <= (select deleted_position from event_feed)`;

/** Selects deliveries of deleted webhook endpoints. */
const DELETED_ENDPOINTS_DELIVERIES = `
select d.ctid from webhook_endpoints w join webhook_deliveries d on d.endpoint_id = w.id where w.deleted_at is not null`;

/** Selects deleted webhook endpoints that have no deliveries any more. Their gaps are deleted with them. */
const DELETED_ENDPOINTS = `
select w.ctid from webhook_endpoints w
where w.deleted_at < now() - interval '1 minute'
  and not exists (select from webhook_deliveries d where d.endpoint_id = w.id)`;

/** Selects gaps of which no event is kept. */
const GAPS = 'select ctid from webhook_gaps where until_position <= (select deleted_position from event_feed)';

type RetentionRule = {
  readonly name: string;
  readonly sql: string;
  readonly parameters?: (ctx: RetentionContext) => unknown[];
  /** Defaults to `rows`. */
  readonly run?: typeof rowsInIndexOrder;
};

const keepEvents = ({ config }: RetentionContext) => [config.eventsKeepDays];

const RULES: readonly RetentionRule[] = [
  {
    name: 'attempts',
    sql: deleteBatch('attempts', ATTEMPTS),
    parameters: ({ config }) => [config.attemptsKeepDays],
    run: rowsInIndexOrder,
  },
  { name: 'repeated attempts', sql: deleteBatch('attempts', REPEATED), run: rowsInIndexOrder },
  { name: 'events', sql: DELETE_EVENTS, parameters: keepEvents, run: rowsInIndexOrder },
  {
    name: 'events of former versions',
    sql: deleteBatch('events', FORMER_EVENTS),
    parameters: keepEvents,
    run: rowsInIndexOrder,
  },
  { name: 'webhook deliveries', sql: deleteBatch('webhook_deliveries', DELIVERIES), run: rowsInIndexOrder },
  {
    name: 'deliveries of deleted webhook endpoints',
    sql: deleteBatch('webhook_deliveries', DELETED_ENDPOINTS_DELIVERIES),
    run: rowsInIndexOrder,
  },
  { name: 'deleted webhook endpoints', sql: deleteBatch('webhook_endpoints', DELETED_ENDPOINTS) },
  { name: 'webhook gaps', sql: deleteBatch('webhook_gaps', GAPS) },
  {
    name: 'webhook secrets',
    sql: deleteBatch('webhook_secrets', 'select ctid from webhook_secrets where expires_at < now()'),
  },
  { name: 'notifications of forgotten users', sql: deleteBatch('outbox', DEAD_LETTERED) },
  {
    name: 'failed attempts',
    sql: deleteBatch('failed_attempts', FAILED_ATTEMPTS),
    run: rowsInIndexOrder,
  },
  {
    name: 'idempotency keys',
    sql: deleteBatch(
      'idempotency_keys',
      `select ctid from idempotency_keys where created_at < now() - interval '24 hours'`,
    ),
  },
  {
    name: 'redemptions',
    sql: deleteBatch('redemptions', `select ctid from redemptions where tried_at < now() - interval '1 day'`),
  },
  {
    name: 'redemption attempts',
    sql: deleteBatch(
      'redemption_attempts',
      `select ctid from redemption_attempts where began_at < now() - interval '1 day'`,
    ),
  },
  {
    name: 'unpaired codes',
    sql: deleteBatch(
      'pairing_codes',
      // Used codes are kept. An expired code that is not yet marked as such is still `active`.
      `select ctid from pairing_codes
       where (status in ('expired', 'cancelled') and ended_at < now() - make_interval(days => $1)
         or status = 'active' and ended_at is null and expires_at < now() - make_interval(days => $1))`,
    ),
    // Events refer to them, and are published later after an outage.
    parameters: ({ config }) => [config.eventsKeepDays + 1],
  },
];

/**
 * Deletes expired rows of all tables in batches. Stops if another replica is doing so.
 * @throws Problem `unavailable`
 */
export async function runRetention(ctx: RetentionContext, pause: Pause = pauseUntilStopped): Promise<void> {
  for (const { name, sql, parameters, run = rows } of RULES) {
    let total = 0;
    for (let last = BATCH; last > 0 && !ctx.stopping.aborted; ) {
      const startedAt = performance.now();
      const [batch] = await run<{ locked: boolean; count: number }>(ctx.db, sql, parameters?.(ctx));
      if (!batch?.locked) return;
      last = batch.count;
      total += last;
      if (last > 0) await pause(PAUSE_FACTOR * (performance.now() - startedAt), ctx.stopping);
    }
    if (total > 0) ctx.log.info(`old ${name} removed`, { count: total });
  }
}

export type Pause = (ms: number, stopping: AbortSignal) => Promise<void>;

/** Ends early when the service stops. */
const pauseUntilStopped: Pause = (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined);

export type RetentionTimes = { readonly firstMs: number; readonly everyMs: number };

/** Runs the retention job periodically until stopped. The next run makes up for a failed one. */
export function startRetention(ctx: RetentionContext, times: Partial<RetentionTimes> = {}): { stop(): Promise<void> } {
  const { firstMs, everyMs } = { ...RETENTION_TIMES, ...times };
  let timer: NodeJS.Timeout;
  let running = Promise.resolve();
  const schedule = (ms: number) => {
    timer = setTimeout(() => {
      running = runRetention(ctx)
        .catch((error: unknown) => ctx.log.warn('retention failed', { reason: String(error) }))
        .then(() => {
          if (!ctx.stopping.aborted) schedule(everyMs);
        });
    }, ms).unref();
  };
  schedule(firstMs);
  return {
    async stop() {
      clearTimeout(timer);
      await running;
    },
  };
}
