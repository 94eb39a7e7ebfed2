import { Logger, type Runner, run } from 'graphile-worker';
import type { Context } from '../context';
import { rows } from '../db/database';
import { openJobsPool } from './jobs-pool';
import { TELL_CPO, type Telling } from './outbox';

const AT_ONCE = 4;
/** Of the database: one for each call, and one that listens. */
export const JOB_CONNECTIONS = AT_ONCE + 1;
/** Longer than a call may take: when a process dies in the middle of one, the next attempt comes by itself. */
const LEASE_SECONDS = 20;
const LONGEST_PAUSE_SECONDS = 3_600;
const GIVE_UP_AFTER = `interval '7 days'`;

const job = (runAt: string) =>
  `graphile_worker.add_job('${TELL_CPO}', json_build_object('pairingId', pairing_id), job_key := pairing_id::text, run_at := ${runAt})`;

const CLAIM = `
with due as (
  update outbox set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => ${LEASE_SECONDS})
  where pairing_id = $1 and gave_up_at is null
  returning *
)
select pairing_id as "pairingId", cpo_id as "cpoId", payload_protocol as "payloadProtocol", uid,
  (select count(*) from pairings p where p.station_uid = lower(due.uid collate "C") and p.ended_at is null and p.cpo_id = due.cpo_id)::int as "pairedAgain",
  ${job('next_attempt_at')} is not null as leased
from due`;

/** From 1 s, doubled each time, to 1 h; after 7 days it is given up and stays visible. */
const POSTPONE = `
with postponed as (
  update outbox set last_error = $2,
    gave_up_at = case when now() > created_at + ${GIVE_UP_AFTER} then now() end,
    next_attempt_at = now() + make_interval(secs => least(${LONGEST_PAUSE_SECONDS}, 2 ^ least(attempts - 1, 20)))
  where pairing_id = $1
  returning *
)
select gave_up_at as "gaveUpAt",
  case when gave_up_at is null then ${job('next_attempt_at')} is not null
    else graphile_worker.remove_job(pairing_id::text) is not null end as scheduled
from postponed`;

const SETTLE = `
with told as (
  delete from outbox where pairing_id = $1 returning pairing_id, cpo_id
), event as (
  insert into events (id, type, pairing_id, cpo_id) select $2, $3, pairing_id, cpo_id from told
)
select graphile_worker.remove_job(pairing_id::text) is not null as removed from told`;

/**
 * Tells CPOs what the outbox holds, at least once each (contract, section 6). The job that wakes us is kept until the
 * CPO has answered: it is put off for a lease before the call, so that no crash can lose it.
 * @param call tells one CPO, and throws when it was not told
 */
export async function startDelivery(
  ctx: Context,
  databaseUrl: string,
  call: (telling: Telling) => Promise<void>,
): Promise<{ stop(): Promise<void> }> {
  const jobs = openJobsPool(databaseUrl, JOB_CONNECTIONS);
  const runner: Runner = await run({
    pgPool: jobs.pool,
    concurrency: AT_ONCE,
    pollInterval: 500,
    noHandleSignals: true,
    logger: new Logger(() => (level, message) => {
      if (level === 'error' || level === 'warning') ctx.log.warn('outbox', { reason: message });
    }),
    taskList: { [TELL_CPO]: (payload) => tell(ctx, call, Object(payload).pairingId) },
  });
  let stopped: Promise<void> | undefined;
  const ended = (reason: unknown) => stopped ?? ctx.log.error('outbox stopped', { reason: String(reason) });
  runner.promise.then(ended, ended);
  const stop = () => jobs.close(runner.stop().catch(() => undefined));
  return {
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

async function tell(ctx: Context, call: (telling: Telling) => Promise<void>, pairingId: string): Promise<void> {
  const [due] = await rows<Telling & { pairedAgain: number }>(ctx.db, CLAIM, [pairingId]);
  if (due === undefined) return;
  if (due.pairedAgain > 0) return settle(ctx, due, 'cpo.not-told');
  try {
    await call(due);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const [postponed] = await rows<{ gaveUpAt: Date | null }>(ctx.db, POSTPONE, [pairingId, reason]);
    ctx.events.cpoNotTold(pairingId, due.cpoId, reason, postponed?.gaveUpAt != null);
    return;
  }
  await settle(ctx, due, 'cpo.told');
}

async function settle(ctx: Context, due: Telling, event: 'cpo.told' | 'cpo.not-told'): Promise<void> {
  await rows(ctx.db, SETTLE, [due.pairingId, ctx.chance.uuid(), event]);
  ctx.events.cpoTold(due.pairingId, due.cpoId, event === 'cpo.told' ? 'told' : 'paired again');
}
