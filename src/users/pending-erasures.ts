import { NIL } from 'uuid';
import type { Context } from '../context';
import type { Database } from '../db/pool';
import { rows, rowsInIndexOrder } from '../db/query';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';

/** The channel that is notified of erasures that a request did not complete. */
export const ERASURES_CHANNEL = 'scsp_erasures';

/** Small, because up to 2,000 connectors are deleted with a station. */
const STATIONS_BATCH = 5;
const ATTEMPTS_BATCH = 1_000;
const PAIRINGS_BATCH = 100;
const EVERY_MS = 60_000;
const RETRY_MS = 1_000;

type PendingErasure = { stationUid: string; pairingIds: string[] };

const NEXT = `
select station_uid as "stationUid", array_agg(pairing_id) as "pairingIds"
from (
  select station_uid, pairing_id from erasures
  where station_uid = (select station_uid from erasures where station_uid > $1 order by station_uid limit 1)
  limit ${PAIRINGS_BATCH}
) e group by station_uid`;

const ERASE_STATIONS = `
with erased as (
  delete from stations where pairing_id = any (array(
    select pairing_id from stations where pairing_id = any($1) limit ${STATIONS_BATCH}))
  returning pairing_id
)
select count(*)::int as count from erased`;

/**
 * Reads a page in the order of the index, after the last row of the previous page, so that erased rows are not read again. It
 * updates by `ctid`, which does not depend on the planner's estimates; no other statement updates attempts.
 */
const ERASE_ATTEMPTS = `
with page as materialized (
  select ctid, cpo_id, id from attempts
  where lower(uid collate "C") = $1 and (cpo_id, id) > ($2, $3)
  order by cpo_id, id limit ${ATTEMPTS_BATCH}
), erased as (
  update attempts set uid = null, detail = null where ctid = any (array(select ctid from page))
)
select cpo_id as "cpoId", id from page order by cpo_id desc, id desc limit 1`;

const FINISH = `
with finished as (
  delete from erasures where pairing_id = any($1) returning pairing_id
)
select count(*)::int as count from finished`;

/**
 * Completes the erasure of forgotten users: deletes the stations of their pairings, and the uids of these in the attempts of all
 * CPOs. Batches are idempotent and may run in two processes at once.
 * @param shouldContinue called before each batch
 */
async function completeErasures(db: Database, shouldContinue: () => boolean): Promise<void> {
  for (let last = ''; shouldContinue(); ) {
    const [next] = await rows<PendingErasure>(db, NEXT, [last]);
    if (next === undefined && last === '') return;
    if (next !== undefined) await eraseUid(db, next, shouldContinue);
    last = next?.stationUid ?? '';
  }
}

const OF_PAIRINGS = `
select station_uid as "stationUid", array_agg(pairing_id) as "pairingIds"
from erasures where pairing_id = any($1) group by station_uid`;

/** Completes the erasure of some pairings only, so that the caller does not wait for others. */
export async function completeErasuresOf(
  db: Database,
  pairingIds: readonly string[],
  shouldContinue: () => boolean,
): Promise<boolean> {
  for (const next of await rows<PendingErasure>(db, OF_PAIRINGS, [pairingIds]))
    if (!(await eraseUid(db, next, shouldContinue))) return false;
  return true;
}

async function eraseUid(
  db: Database,
  { stationUid, pairingIds }: PendingErasure,
  shouldContinue: () => boolean,
): Promise<boolean> {
  for (let erased = STATIONS_BATCH; erased > 0; ) {
    if (!shouldContinue()) return false;
    const [batch] = await rows<{ count: number }>(db, ERASE_STATIONS, [pairingIds]);
    erased = batch?.count ?? 0;
  }
  for (let after = { cpoId: NIL, id: NIL }; ; ) {
    if (!shouldContinue()) return false;
    const position = [stationUid, after.cpoId, after.id];
    const [last] = await rowsInIndexOrder<typeof after>(db, ERASE_ATTEMPTS, position);
    if (last === undefined) break;
    after = last;
  }
  await rows(db, FINISH, [pairingIds]);
  return true;
}

/** Wakes the job, in this or another process, to complete pending erasures. */
export async function notifyPendingErasures(db: Database): Promise<void> {
  await rows(db, 'select pg_notify($1, $2)', [ERASURES_CHANNEL, '']);
}

/** Starts the job that completes erasures: at the start, on a notification, and every minute in case a process died. */
export function startErasureJob(ctx: Pick<Context, 'db' | 'listener' | 'log' | 'stopping'>): PeriodicJob {
  const job = startPeriodic(
    {
      name: 'erasing what is left of forgotten users',
      everyMs: EVERY_MS,
      retryMs: RETRY_MS,
      wakeOn: (wake) => [ctx.listener.on(ERASURES_CHANNEL, wake)],
      ...ctx,
    },
    () => completeErasures(ctx.db, () => !ctx.stopping.aborted),
  );
  job.wake();
  return job;
}
