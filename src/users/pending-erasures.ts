import type { Context } from '../context';
import type { Database } from '../db/pool';
import { rows, rowsInIndexOrder } from '../db/query';

/** On which a process says that it has left something to erase. */
export const ERASURES_CHANNEL = 'scsp_erasures';

/** A station has up to 2,000 connectors, which are deleted with it. */
const STATIONS_BATCH = 5;
const ATTEMPTS_BATCH = 1_000;
const PAIRINGS_BATCH = 100;
const EVERY_MS = 60_000;
const RETRY_MS = 1_000;
const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

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
 * In the order of the index, from behind an attempt: rows that are done already are not read again. By `ctid`, whatever the
 * planner believes of the table; nothing but this statement updates an attempt.
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
 * Erases from storage what is left of forgotten users: stations of their pairings, and the uids of these in the attempts
 * of all CPOs, which are not shown any more. In batches that may be done twice or by two processes at once.
 * @param goesOn asked before each batch
 * @returns whether nothing is left
 */
export async function completeErasures(db: Database, goesOn: () => boolean): Promise<boolean> {
  for (let last = ''; goesOn(); ) {
    const [next] = await rows<PendingErasure>(db, NEXT, [last]);
    if (next === undefined && last === '') return true;
    if (next !== undefined && !(await eraseUid(db, next, goesOn))) return false;
    last = next?.stationUid ?? '';
  }
  return false;
}

const OF_PAIRINGS = `
select station_uid as "stationUid", array_agg(pairing_id) as "pairingIds"
from erasures where pairing_id = any($1) group by station_uid`;

/** The same for some pairings alone, so that what is left of others is not waited for. */
export async function completeErasuresOf(
  db: Database,
  pairingIds: readonly string[],
  goesOn: () => boolean,
): Promise<boolean> {
  for (const next of await rows<PendingErasure>(db, OF_PAIRINGS, [pairingIds]))
    if (!(await eraseUid(db, next, goesOn))) return false;
  return true;
}

async function eraseUid(
  db: Database,
  { stationUid, pairingIds }: PendingErasure,
  goesOn: () => boolean,
): Promise<boolean> {
  for (let erased = STATIONS_BATCH; erased > 0; ) {
    if (!goesOn()) return false;
    const [batch] = await rows<{ count: number }>(db, ERASE_STATIONS, [pairingIds]);
    erased = batch?.count ?? 0;
  }
  for (let after = { cpoId: BEFORE_ALL, id: BEFORE_ALL }; ; ) {
    if (!goesOn()) return false;
    const position = [stationUid, after.cpoId, after.id];
    const [last] = await rowsInIndexOrder<typeof after>(db, ERASE_ATTEMPTS, position);
    if (last === undefined) break;
    after = last;
  }
  await rows(db, FINISH, [pairingIds]);
  return true;
}

/** Has some process erase what this one has left. */
export async function notifyPendingErasures(db: Database): Promise<void> {
  await rows(db, 'select pg_notify($1, $2)', [ERASURES_CHANNEL, '']);
}

/** Erases what is left over at the start, whenever it is announced, and now and then in case a process has died. */
export function startErasureJob(ctx: Pick<Context, 'db' | 'listener' | 'log' | 'stopping'>): { stop(): Promise<void> } {
  let under: Promise<void> | undefined;
  let again = false;
  let timer: NodeJS.Timeout;
  const work = async () => {
    do {
      again = false;
      await completeErasures(ctx.db, () => !ctx.stopping.aborted);
    } while (again && !ctx.stopping.aborted);
    return EVERY_MS;
  };
  const wake = () => {
    again = true;
    under ??= work()
      .catch((error: unknown) => {
        ctx.log.warn('erasing what is left of forgotten users failed', { reason: String(error) });
        return RETRY_MS;
      })
      .then((pause) => {
        under = undefined;
        clearTimeout(timer);
        if (!ctx.stopping.aborted) timer = setTimeout(wake, pause).unref();
      });
  };
  const unsubscribe = ctx.listener.on(ERASURES_CHANNEL, wake);
  wake();
  return {
    async stop() {
      unsubscribe();
      await under;
      clearTimeout(timer);
    },
  };
}
