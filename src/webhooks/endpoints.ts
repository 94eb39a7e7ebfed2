import type { EntityManager } from 'typeorm';
import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { ADVISORY_LOCKS } from '../db/locks';
import type { Database } from '../db/pool';
import { rows, transaction } from '../db/query';
import type { WebhookEndpointRow } from '../db/schema/webhooks';
import { EVENTS_CHANNEL, type EventType, requireVisibleTypes, UNPUBLISHED } from '../events/events';
import { Problem } from '../problems';
import { disableEndpoint, skipPending } from './disable';
import { countForApp } from './limits';
import { type Owned, requireId } from './owned';
import { createSecret } from './secrets';
import { checkUrl } from './url';

/** The maximum number of endpoints of an app. */
export const MAX_ENDPOINTS = 10;
/** How long enabling an endpoint records its pending deliveries as skipped, which a job does otherwise. */
const SKIP_MS = 2_000;

export type Endpoint = Pick<
  WebhookEndpointRow,
  'id' | 'url' | 'types' | 'description' | 'status' | 'disabledReason' | 'createdAt' | 'failingSince' | 'lastSuccessAt'
> & { readonly types: EventType[] | null };

/** The columns of `Endpoint`. */
export const ENDPOINT_COLUMNS = `id, url, types, description, status, disabled_reason as "disabledReason", created_at as "createdAt",
  failing_since as "failingSince", last_success_at as "lastSuccessAt"`;

/** The detail of audit entries: of the URL only the origin, because path and query may hold secrets. */
const AUDIT_DETAIL = `jsonb_strip_nulls(jsonb_build_object('app', app_name, 'status', status, 'types', types,
  'origin', substring(url from '^[^:]+://[^/?]+')))`;

/** Members that are undefined keep their values; an empty list of types stands for every type. */
export type EndpointChange = {
  readonly url?: string | undefined;
  readonly types?: readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly status?: 'enabled' | 'disabled' | undefined;
};

const CREATE = `
with changed as (
  insert into webhook_endpoints (id, app_name, url, types, description)
  select $3::uuid, $4, $5, $6::text[], $7
  where (select count(*) from webhook_endpoints where app_name = $4 and deleted_at is null) < ${MAX_ENDPOINTS}
  returning *
), secret as (
  insert into webhook_secrets (id, endpoint_id, secret, key_id) select $8::uuid, id, $9::bytea, $10 from changed
), ${audited('webhook.create', AUDIT_DETAIL)}
select ${ENDPOINT_COLUMNS} from changed`;

/**
 * Creates an endpoint and its first secret, which is returned once.
 * @throws Problem `invalid-request` for a URL that must not be called or an unknown type, `too-many-endpoints`
 */
export async function createEndpoint(
  ctx: Context & Audited,
  app: string,
  { url, types, description }: EndpointChange & { readonly url: string },
): Promise<Endpoint & { readonly secret: string }> {
  requireVisibleTypes({ app }, types);
  await checkUrl(url, ctx.config.callsLoopback);
  const { id: secretId, secret, sealed } = createSecret(ctx);
  const work = async (tx: EntityManager) => {
    // The statement then sees the endpoints of a concurrent creation.
    await rows(tx, 'select pg_advisory_xact_lock($1, hashtext($2))', [ADVISORY_LOCKS.webhookCreate, app]);
    const [endpoint] = await rows<Endpoint>(tx, CREATE, [
      ...auditParameters(ctx),
      ctx.random.uuid(),
      app,
      url,
      types?.length ? [...new Set(types)] : null,
      description || null,
      secretId,
      sealed.bytes,
      sealed.keyId,
    ]);
    if (endpoint === undefined) throw new Problem('too-many-endpoints');
    return { ...endpoint, secret };
  };
  return transaction(ctx.db, work, 'READ COMMITTED');
}

/** Returns an app's endpoints after an id, the oldest first. */
export function listEndpoints(db: Database, app: string, after: string, limit: number): Promise<Endpoint[]> {
  return rows(
    db,
    `select ${ENDPOINT_COLUMNS} from webhook_endpoints
     where app_name = $1 and deleted_at is null and id > $2 order by id limit $3`,
    [app, after, limit],
  );
}

/** @throws Problem `not-found`, also for an endpoint of another app */
export async function getEndpoint(db: Pick<Database, 'query'>, { id, app }: Owned): Promise<Endpoint> {
  requireId(id);
  const [endpoint] = await rows<Endpoint>(
    db,
    `select ${ENDPOINT_COLUMNS} from webhook_endpoints where id = $1 and app_name = $2 and deleted_at is null`,
    [id, app],
  );
  if (endpoint === undefined) throw new Problem('not-found');
  return endpoint;
}

const CHANGE = `
with changed as (
  update webhook_endpoints
  set url = coalesce($5, url), types = case when $6::text[] is null then types else nullif($6::text[], '{}') end,
    description = case when $7::text is null then description else nullif($7, '') end
  where id = $3 and app_name = $4 and deleted_at is null
  returning *
), ${audited('webhook.change', AUDIT_DETAIL)}
select ${ENDPOINT_COLUMNS} from changed`;

/**
 * Enables an endpoint. The events that were published while it was disabled become a gap, or extend the one before if nothing was
 * published between. The endpoint is locked first, so that the feed is not locked while this waits for it. The share lock on the
 * end of the feed keeps the publisher from assigning positions meanwhile.
 */
const ENABLE = `
with before as (
  select id, disabled_after from webhook_endpoints where id = $3 and status = 'disabled' for no key update
), feed as (
  select last_position from event_feed where exists (select from before) for share
), changed as (
  update webhook_endpoints w
  set status = 'enabled', disabled_reason = null, disabled_after = null,
    failures = 0, failing_since = null, announced_at = null
  from feed, before b
  where w.id = b.id
    and not exists (select from webhook_deliveries d where d.endpoint_id = w.id and d.status = 'pending')
  returning w.*, b.disabled_after as after_position, feed.last_position as until_position
), extended as (
  update webhook_gaps g set until_position = c.until_position
  from changed c where g.endpoint_id = c.id and g.until_position = c.after_position
  returning 1
), gap as (
  insert into webhook_gaps (endpoint_id, after_position, until_position)
  select id, after_position, until_position from changed
  where after_position < until_position and not exists (select from extended)
  on conflict (endpoint_id, after_position) do update
  set until_position = greatest(webhook_gaps.until_position, excluded.until_position)
), ${audited('webhook.change', AUDIT_DETAIL)}
select pg_notify('${EVENTS_CHANNEL}', '${UNPUBLISHED}') from changed`;

/**
 * Changes an endpoint of an app.
 * @throws Problem `not-found`, `invalid-request` for a URL that must not be called or an unknown type, `unavailable` while deliveries from
 *   before it was disabled are still pending, `too-many-requests` after 10 changes of a status within a minute
 */
export async function changeEndpoint(
  ctx: Pick<Context, 'config' | 'db' | 'metrics' | 'random'> & Audited,
  owned: Owned,
  change: EndpointChange,
  origin?: Origin,
): Promise<Endpoint> {
  const { id } = await getEndpoint(ctx.db, owned);
  const { url, types, description, status } = change;
  requireVisibleTypes(owned, types);
  if (url !== undefined) await checkUrl(url, ctx.config.callsLoopback);
  // What was pending when the endpoint was disabled must not be delivered when it is enabled.
  const skipUntil = performance.now() + SKIP_MS;
  if (status === 'enabled') await skipPending(ctx.db, id, () => performance.now() < skipUntil);
  const changed = await transaction(
    ctx.db,
    async (tx) => {
      const auditedTx = { ...ctx, db: tx };
      if (url !== undefined || types !== undefined || description !== undefined)
        await rows(tx, CHANGE, [
          ...auditParameters(ctx),
          id,
          owned.app,
          url ?? null,
          types === undefined ? null : [...new Set(types)],
          description ?? null,
        ]);
      const before = await getEndpoint(tx, owned);
      if (status === undefined || status === before.status) return { endpoint: before, disabled: undefined };
      await countForApp(tx, owned.app, 'changed_at');
      if (status === 'disabled') {
        const disabled = await disableEndpoint(auditedTx, id, 'app');
        return { endpoint: await getEndpoint(tx, owned), disabled };
      }
      const enabled = await rows(tx, ENABLE, [...auditParameters(ctx), id]);
      const endpoint = await getEndpoint(tx, owned);
      if (enabled.length === 0 && endpoint.status === 'disabled') throw new Problem('unavailable');
      return { endpoint, disabled: undefined };
    },
    'READ COMMITTED',
  );
  if (changed.disabled !== undefined) ctx.metrics.webhookDisabled(changed.disabled, origin);
  return changed.endpoint;
}

const DELETE = `
with changed as (
  update webhook_endpoints
  set deleted_at = now(), redeliver_after = null, redeliver_until = null, redeliver_since = null
  where id = $3 and app_name = $4 and deleted_at is null
  returning *
), secrets as (
  delete from webhook_secrets s using changed c where s.endpoint_id = c.id
), ${audited('webhook.delete', AUDIT_DETAIL)}
select id from changed`;

/**
 * Deletes an endpoint and its secrets. Retention deletes its deliveries.
 * @throws Problem `not-found`
 */
export async function deleteEndpoint(ctx: Context & Audited, { id, app }: Owned): Promise<void> {
  requireId(id);
  const deleted = await rows(ctx.db, DELETE, [...auditParameters(ctx), id, app]);
  if (deleted.length === 0) throw new Problem('not-found');
}
