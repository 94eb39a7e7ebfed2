import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { rows } from '../db/database';

type House = Pick<Context, 'config' | 'db' | 'log' | 'stopping'>;

/** One replica at a time. */
const HOUSE_LOCK = 7_305_005;
/** So few that a statement is over long before its time-out, and nobody waits for it. */
const BATCH = 1_000;
/** A batch is followed by a rest of so many times its own duration, so that a backlog takes a fifth of a core at most. */
const RESTS = 4;
const FIRST_MS = 60_000;
const EVERY_MS = 600_000;

/**
 * Removes a batch of a table's rows, but those that somebody is using right now.
 * @param old SQL that selects the `ctid` of old rows
 */
const removal = (table: string, old: string) => `
with turn as materialized (
  select pg_try_advisory_xact_lock(${HOUSE_LOCK}) as mine
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

const CHORES: readonly { what: string; sql: string; parameters?: (house: House) => unknown[] }[] = [
  { what: 'attempts', sql: removal('attempts', ATTEMPTS), parameters: ({ config }) => [config.attemptsKeepDays] },
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
export async function keepHouse(house: House): Promise<void> {
  for (const { what, sql, parameters } of CHORES) {
    let total = 0;
    for (let last = BATCH; last > 0 && !house.stopping.aborted; ) {
      const began = performance.now();
      const [batch] = await rows<{ mine: boolean; count: number }>(house.db, sql, parameters?.(house));
      if (!batch?.mine) return;
      last = batch.count;
      total += last;
      if (last > 0) await rest(house, RESTS * (performance.now() - began));
    }
    if (total > 0) house.log.info(`old ${what} removed`, { count: total });
  }
}

/** Over at once when the service stops. */
async function rest({ stopping }: House, ms: number): Promise<void> {
  await sleep(ms, undefined, { signal: stopping }).catch(() => undefined);
}

export type HousekeepingTimes = { readonly firstMs: number; readonly everyMs: number };

/** Keeps house now and then until it is stopped; what fails is done the next time. */
export function startHousekeeping(house: House, times: Partial<HousekeepingTimes> = {}): { stop(): Promise<void> } {
  const { firstMs, everyMs } = { firstMs: FIRST_MS, everyMs: EVERY_MS, ...times };
  let timer: NodeJS.Timeout;
  let under = Promise.resolve();
  const schedule = (ms: number) => {
    timer = setTimeout(() => {
      under = keepHouse(house)
        .catch((error: unknown) => house.log.warn('housekeeping failed', { reason: String(error) }))
        .then(() => {
          if (!house.stopping.aborted) schedule(everyMs);
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
