import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { ADVISORY_LOCKS } from '../db/locks';
import { rows, rowsInIndexOrder } from '../db/query';

type Retaining = Pick<Context, 'config' | 'db' | 'log' | 'stopping'>;

/** So few that a statement is over long before its time-out, and nobody waits for it. */
const BATCH = 1_000;
/** A batch is followed by a pause of so many times its own duration, so that a backlog takes a fifth of a core at most. */
const PAUSES = 4;
const FIRST_MS = 60_000;
const EVERY_MS = 600_000;

/**
 * Removes a batch of a table's rows, but those that somebody is using right now.
 * @param old SQL that selects the `ctid` of old rows
 */
const removal = (table: string, old: string) => `
with turn as materialized (
  select pg_try_advisory_xact_lock(${ADVISORY_LOCKS.retention}) as mine
), removed as (
  delete from ${table} where ctid = any (array(
    select ctid from ${table}
    where (select mine from turn) and ctid = any (array(${old} limit ${BATCH})) for update skip locked))
  returning 1
)
select mine, (select count(*)::int from removed) as count from turn`;

/**
 * Ids of attempts are in the order of time: of each CPO's share of the primary key only the beginning is read, and the
 * statement that pairs has no second index to write.
 */
const ATTEMPTS = `
select a.ctid from cpos c cross join lateral (
  select ctid, attempted_at from attempts where cpo_id = c.id order by id limit ${BATCH}
) a where a.attempted_at < now() - make_interval(days => $1)`;

/** Of one CPO and uid so many attempts are kept, the latest. */
export const ATTEMPTS_OF_A_UID = 100;
/** So many attempts of each CPO, the latest, are looked through for uids that are sent again and again. */
const SAMPLE = 200;

/**
 * Attempts beyond the latest of a CPO and uid: a CPO that repeats a refused request every ten seconds makes 260,000 a
 * month. A uid whose attempts are a share of r of its CPO's is in a sample with a probability of at least r; that bounds
 * what piles up between two samples, however many attempts the CPO makes.
 */
const REPEATED = `
select beyond.ctid
from (
  select distinct c.id as cpo_id, lower(recent.uid collate "C") as uid
  from cpos c cross join lateral (
    select uid, outcome from attempts where cpo_id = c.id order by id desc limit ${SAMPLE}
  ) recent
  where recent.outcome <> 'paired' and recent.uid is not null
) sample cross join lateral (
  select a.ctid from attempts a
  where lower(a.uid collate "C") = sample.uid and a.cpo_id = sample.cpo_id
  order by a.id desc offset ${ATTEMPTS_OF_A_UID} limit ${BATCH}
) beyond`;

/** What no limit counts any more: older than the longest window, and an hour. */
const FAILED_ATTEMPTS = `
select f.ctid from cpos c cross join lateral (
  select ctid, failed_at from failed_attempts where cpo_id = c.id order by failed_at limit ${BATCH}
) f where f.failed_at < now() - interval '25 hours'`;

/** A user who is forgotten at the moment when a notification is given up leaves a uid behind. */
const GIVEN_UP = `
select o.ctid from outbox o
where o.gave_up_at is not null and exists (select from pairings p where p.id = o.pairing_id and p.user_id is null)`;

type Removal = {
  readonly what: string;
  readonly sql: string;
  readonly parameters?: (retaining: Retaining) => unknown[];
  /** `rows` unless given. */
  readonly run?: typeof rowsInIndexOrder;
};

const REMOVALS: readonly Removal[] = [
  {
    what: 'attempts',
    sql: removal('attempts', ATTEMPTS),
    parameters: ({ config }) => [config.attemptsKeepDays],
    run: rowsInIndexOrder,
  },
  { what: 'repeated attempts', sql: removal('attempts', REPEATED), run: rowsInIndexOrder },
  { what: 'notifications of forgotten users', sql: removal('outbox', GIVEN_UP) },
  {
    what: 'failed attempts',
    sql: removal('failed_attempts', FAILED_ATTEMPTS),
    run: rowsInIndexOrder,
  },
  {
    what: 'idempotency keys',
    sql: removal(
      'idempotency_keys',
      `select ctid from idempotency_keys where created_at < now() - interval '24 hours'`,
    ),
  },
  {
    what: 'redemptions',
    sql: removal('redemptions', `select ctid from redemptions where tried_at < now() - interval '1 day'`),
  },
  {
    what: 'redemption attempts',
    sql: removal(
      'redemption_attempts',
      `select ctid from redemption_attempts where began_at < now() - interval '1 day'`,
    ),
  },
  {
    what: 'unpaired codes',
    sql: removal(
      'pairing_codes',
      // Those that have paired are used, and stay. One whose end nobody has noted yet is active.
      `select ctid from pairing_codes
       where (status in ('expired', 'cancelled') and ended_at < now() - interval '7 days'
         or status = 'active' and ended_at is null and expires_at < now() - interval '7 days')`,
    ),
  },
];

/**
 * Removes what has become old, batch after batch, unless another replica is at it.
 * @throws Problem `unavailable`
 */
export async function removeOld(retaining: Retaining, pause: Pause = pauseUntilStopped): Promise<void> {
  for (const { what, sql, parameters, run = rows } of REMOVALS) {
    let total = 0;
    for (let last = BATCH; last > 0 && !retaining.stopping.aborted; ) {
      const began = performance.now();
      const [batch] = await run<{ mine: boolean; count: number }>(retaining.db, sql, parameters?.(retaining));
      if (!batch?.mine) return;
      last = batch.count;
      total += last;
      if (last > 0) await pause(PAUSES * (performance.now() - began), retaining.stopping);
    }
    if (total > 0) retaining.log.info(`old ${what} removed`, { count: total });
  }
}

export type Pause = (ms: number, stopping: AbortSignal) => Promise<void>;

/** Over at once when the service stops. */
const pauseUntilStopped: Pause = (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined);

export type RetentionTimes = { readonly firstMs: number; readonly everyMs: number };

/** Removes what is old now and then until it is stopped; what fails is done the next time. */
export function startRetention(retaining: Retaining, times: Partial<RetentionTimes> = {}): { stop(): Promise<void> } {
  const { firstMs, everyMs } = { firstMs: FIRST_MS, everyMs: EVERY_MS, ...times };
  let timer: NodeJS.Timeout;
  let under = Promise.resolve();
  const schedule = (ms: number) => {
    timer = setTimeout(() => {
      under = removeOld(retaining)
        .catch((error: unknown) => retaining.log.warn('retention failed', { reason: String(error) }))
        .then(() => {
          if (!retaining.stopping.aborted) schedule(everyMs);
        });
    }, ms).unref();
  };
  schedule(firstMs);
  return {
    async stop() {
      clearTimeout(timer);
      await under;
    },
  };
}
