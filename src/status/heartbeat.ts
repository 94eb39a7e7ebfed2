import { hostname } from 'node:os';
import type { Context } from '../context';
import { rows } from '../db/query';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';
import { type CircuitSources, ReplicaObserver } from './replica-state';

/** `checkMs`: how often is looked for a change. `everyMs`: how often the row is written without one. */
export type HeartbeatTimes = { readonly checkMs: number; readonly everyMs: number };
export const HEARTBEAT_TIMES: HeartbeatTimes = { checkMs: 1_000, everyMs: 10_000 };

const MAX_REMOVED = 100;

/**
 * The commit waits neither for the disk nor for a standby: the next one makes up for a lost one, and a commit that waits for a standby
 * that is gone keeps a connection of PostgreSQL.
 */
const NOT_AWAITED = `(select set_config('synchronous_commit', 'off', true)) = 'off'`;

/** Also removes the rows of replicas that were killed, once they have not been seen for an hour. */
const WRITE = `
with gone as (
  delete from replicas where id = any (array(
    select id from replicas where seen_at < now() - interval '1 hour' and id <> $1 limit ${MAX_REMOVED}
    for update skip locked))
)
insert into replicas (id, version, node_version, host, state)
select $1, $2, $3, $4, $5 where ${NOT_AWAITED}
on conflict on constraint replicas_pkey do update set seen_at = now(), state = excluded.state`;

const REMOVE = `
with removed as (
  delete from replicas where id = $1 and ${NOT_AWAITED} returning 1
)
select count(*) from removed`;

/**
 * Writes the state of this process into the table `replicas`, at each change within a second and every 10 s, and removes it when it is
 * stopped. A write that fails is repeated after a second; no request waits for it.
 */
export function startHeartbeat(
  ctx: Context,
  version: string,
  sources: CircuitSources,
  times: Partial<HeartbeatTimes> = {},
): Pick<PeriodicJob, 'stop'> {
  const { checkMs, everyMs } = { ...HEARTBEAT_TIMES, ...times };
  const id = ctx.random.uuid();
  const observer = new ReplicaObserver(ctx, sources);
  let written: { readonly change: string; readonly at: number } | undefined;
  const work = async () => {
    const at = performance.now();
    const change = observer.change();
    const state = await observer.observe();
    if (written?.change === change && at - written.at < everyMs) return;
    await rows(ctx.db, WRITE, [id, version, process.versions.node, hostname(), JSON.stringify(state)]);
    written = { change, at };
  };
  const job = startPeriodic({ name: 'writing the state of this replica', everyMs: checkMs, ...ctx }, work);
  job.wake();
  return {
    async stop() {
      await job.stop();
      if (written === undefined) return;
      // Without a database the row is not seen any more soon, and removed within an hour.
      await rows(ctx.db, REMOVE, [id]).catch((error: unknown) =>
        ctx.log.debug('the state of this replica was not removed', { reason: String(error) }),
      );
    },
  };
}
