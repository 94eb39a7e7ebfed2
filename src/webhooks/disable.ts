import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import type { DisabledReason } from '../db/schema/webhooks';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';
import { EVENTS_CHANNEL, UNPUBLISHED } from '../events/events';
import { WEBHOOKS_CHANNEL } from './channel';

/** When an endpoint without a success is announced, and when it is disabled. */
const ANNOUNCE_AFTER = `interval '96 hours'`;
const DISABLE_AFTER = `interval '120 hours'`;
const NOTICE = `interval '24 hours'`;
const FEWEST_FAILURES = 20;
const EVERY_MS = 60_000;
const BATCH = 1_000;

/** The payload that is sent when an endpoint was disabled. */
const DISABLED = 'disabled';

/** The actor in the audit log when the service disables an endpoint. */
const SERVICE = 'scsp-pairing';

const FAILING = `w.failing_since < now() - ${DISABLE_AFTER} and w.failures >= ${FEWEST_FAILURES}
  and w.announced_at < now() - ${NOTICE}`;
const NO_LIVE_TOKEN = `not exists (
  select from tokens t
  where t.role = 'app' and t.app_name = w.app_name and t.revoked_at is null and t.expires_at > now())`;

/** Conditions that are checked again in the statement that disables. */
const CONDITIONS: Readonly<Record<DisabledReason, string>> = {
  app: 'true',
  operator: 'true',
  gone: 'true',
  failing: FAILING,
  'no-live-token': NO_LIVE_TOKEN,
};

/**
 * The endpoint is locked first, so that the feed is not locked while this waits for it. The share lock on the end of
 * the feed keeps the publisher from assigning positions meanwhile: events up to `disabled_after` have deliveries, later
 * ones do not.
 */
const disable = (condition: string) => `
with endpoint as (
  select id from webhook_endpoints where id = $3 and status = 'enabled' for no key update
), feed as (
  select last_position from event_feed where exists (select from endpoint) for share
), changed as (
  update webhook_endpoints w
  set status = 'disabled', disabled_reason = $4, disabled_after = feed.last_position,
    redeliver_after = null, redeliver_until = null, redeliver_since = null
  from feed
  where w.id = $3 and w.status = 'enabled' and w.deleted_at is null and ($6::text is null or w.url = $6) and ${condition}
  returning w.*
), event as (
  insert into events (id, type, endpoint_id, reason, failing_since, app_name)
  select $5::uuid, 'webhook_endpoint.disabled', id, disabled_reason, failing_since, app_name from changed
), ${audited('webhook.disable', `jsonb_build_object('app', app_name, 'reason', disabled_reason)`)}
select id, app_name as "appName", disabled_reason as reason,
  pg_notify('${EVENTS_CHANNEL}', '${UNPUBLISHED}'), pg_notify('${WEBHOOKS_CHANNEL}', '${DISABLED}')
from changed`;

export type Disabled = { readonly id: string; readonly appName: string; readonly reason: DisabledReason };

/**
 * Disables an enabled endpoint, if the condition of the reason holds and it has this URL, if one is given, and writes the event. A job
 * records its pending deliveries as skipped; until then they are only listed as such.
 * @returns undefined when nothing was changed
 */
export async function disableEndpoint(
  ctx: Audited,
  id: string,
  reason: DisabledReason,
  url?: string,
): Promise<Disabled | undefined> {
  const [disabled] = await rows<Disabled>(ctx.db, disable(CONDITIONS[reason]), [
    ...auditParameters(ctx),
    id,
    reason,
    ctx.random.uuid(),
    url ?? null,
  ]);
  return disabled;
}

/** Locks deliveries in the order in which outcomes are recorded. */
const SKIP_PENDING = `
with skipped as (
  update webhook_deliveries d set status = 'skipped'
  where d.endpoint_id = $1 and d.position = any (array(
      select position from webhook_deliveries where endpoint_id = $1 and status = 'pending' and position = any (array(
        select position from webhook_deliveries where endpoint_id = $1 and status = 'pending' limit ${BATCH}))
      order by position for no key update))
    and exists (select from webhook_endpoints where id = $1 and status = 'disabled')
  returning 1
)
select count(*)::int as count from skipped`;

/**
 * Records the pending deliveries of a disabled endpoint as skipped, in batches.
 * @param shouldContinue called before each batch
 */
export async function skipPending(db: Database, id: string, shouldContinue: () => boolean): Promise<void> {
  for (let count = BATCH; count > 0 && shouldContinue(); ) {
    const [batch] = await rows<{ count: number }>(db, SKIP_PENDING, [id]);
    count = batch?.count ?? 0;
  }
}

/**
 * Disables an endpoint by a decision of the service.
 * @param cause the URL that was called, and the delivery that decided it; undefined for the check every minute
 */
export async function disableByService(
  ctx: Context,
  id: string,
  reason: DisabledReason,
  { url, origin }: { readonly url?: string; readonly origin?: Origin } = {},
): Promise<void> {
  const disabled = await disableEndpoint({ db: ctx.db, random: ctx.random, actor: SERVICE }, id, reason, url);
  if (disabled !== undefined) ctx.metrics.webhookDisabled(disabled, origin);
}

/** Locks endpoints in the order in which outcomes are recorded. */
const ANNOUNCE = `
with due as (
  select id from webhook_endpoints
  where status = 'enabled' and deleted_at is null and announced_at is null
    and failures >= ${FEWEST_FAILURES} and failing_since < now() - ${ANNOUNCE_AFTER}
  order by id for no key update
), changed as (
  update webhook_endpoints w set announced_at = now() from due
  where w.id = due.id
  returning w.id, w.app_name, w.failing_since
), event as (
  insert into events (id, type, endpoint_id, failing_since, app_name)
  select gen_random_uuid(), 'webhook_endpoint.failing', id, failing_since, app_name from changed
)
select id, app_name as "appName", failing_since as "failingSince", pg_notify('${EVENTS_CHANNEL}', '${UNPUBLISHED}')
from changed`;

export type Announced = { readonly id: string; readonly appName: string; readonly failingSince: Date };

const candidates = (condition: string) => `
select w.id from webhook_endpoints w where w.status = 'enabled' and w.deleted_at is null and ${condition} order by w.id`;

/** Disabled endpoints whose pending deliveries are not yet recorded as skipped. */
const UNFINISHED = `
select w.id from webhook_endpoints w
where w.status = 'disabled' and exists (
  select from webhook_deliveries d where d.endpoint_id = w.id and d.status = 'pending')`;

/**
 * Announces endpoints that have failed for 96 h, and disables those that have failed for 120 h or whose app has no live token
 * (contract, section 9). Records the pending deliveries of disabled endpoints as skipped. Idempotent: replicas may run it at the same time.
 * @throws Problem `unavailable`
 */
export async function checkEndpoints(ctx: Context): Promise<void> {
  for (const announced of await rows<Announced>(ctx.db, ANNOUNCE)) ctx.metrics.webhookFailing(announced);
  for (const reason of ['failing', 'no-live-token'] as const)
    for (const { id } of await rows<{ id: string }>(ctx.db, candidates(CONDITIONS[reason])))
      await disableByService(ctx, id, reason);
  for (const { id } of await rows<{ id: string }>(ctx.db, UNFINISHED))
    await skipPending(ctx.db, id, () => !ctx.stopping.aborted);
}

/** Checks the endpoints every minute, and when one was disabled, until stopped. */
export function startEndpointChecks(ctx: Context): PeriodicJob {
  const wakeOn = (wake: () => void) => [ctx.listener.on(WEBHOOKS_CHANNEL, wake, DISABLED)];
  return startPeriodic({ name: 'check of webhook endpoints', everyMs: EVERY_MS, wakeOn, ...ctx }, () =>
    checkEndpoints(ctx),
  );
}
