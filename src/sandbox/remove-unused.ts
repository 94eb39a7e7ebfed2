import type { Context } from '../context';
import { rows } from '../db/query';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';

type RemovalContext = Pick<Context, 'db' | 'log' | 'stopping'>;

const EVERY_MS = 300_000;
/** The rows of one statement, and the statements of one run. */
const BATCH = 1_000;
const MOST_BATCHES = 1_000;

/**
 * A CPO is removed once it has been suspended for a minute: no request that was let in before is still in progress then. Uses of tokens
 * are stored once a minute, and later while the database is unavailable: five minutes more than a day are allowed for that.
 */
const SUSPEND_UNUSED = `
with unused as (
  select c.id
  from cpos c
  left join (select cpo_id, max(greatest(created_at, last_used_at)) as used_at from tokens group by cpo_id) u on u.cpo_id = c.id
  where c.sandbox and c.suspended_at is null and greatest(c.created_at, u.used_at) < now() - interval '24 hours 5 minutes'
  order by c.id limit ${BATCH} for update of c skip locked
), suspended as (
  update cpos c set suspended_at = now(), base_url = null, outbound_token = null, outbound_key_id = null
  from unused u where c.id = u.id returning c.id
), revoked as (
  update tokens set revoked_at = now() where cpo_id in (select id from suspended) and revoked_at is null
)
select count(*)::int as count from suspended`;

const FORGET_ADDRESSES = `
with forgotten as (
  delete from sandbox_sign_ups where id in (
    select id from sandbox_sign_ups where signed_up_at < now() - interval '1 hour' limit ${BATCH})
  returning 1
)
select count(*)::int as count from forgotten`;

/**
 * Removes self-service CPOs that were not used for 24 hours, with everything that belongs to them, and the addresses of those
 * created more than an hour ago. Replicas may do so at the same time.
 * @throws Problem `unavailable`
 */
export async function removeUnused({ db, log, stopping }: RemovalContext): Promise<void> {
  await rows(db, FORGET_ADDRESSES);
  await rows(db, SUSPEND_UNUSED);
  let removed = 0;
  for (let batch = 0; batch < MOST_BATCHES && !stopping.aborted; batch++) {
    const [done] = await rows<{ removed: string | null }>(db, 'select removed from scsp_remove_unused_cpos_v1($1)', [
      BATCH,
    ]);
    if (done === undefined) break;
    if (done.removed !== null) removed += 1;
  }
  if (removed > 0) log.info('unused self-service CPOs removed', { count: removed });
}

/** Removes unused self-service CPOs every five minutes until stopped. */
export function startRemoval(ctx: RemovalContext): PeriodicJob {
  return startPeriodic({ name: 'removal of unused CPOs', everyMs: EVERY_MS, ...ctx }, () => removeUnused(ctx));
}
