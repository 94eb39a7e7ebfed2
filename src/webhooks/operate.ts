import { validate as isUuid } from 'uuid';
import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import type { WebhookClient, WebhookOutcome } from './client';
import { disableEndpoint } from './disable';
import { ENDPOINT_COLUMNS, type Endpoint, getEndpoint } from './endpoints';
import type { Owned } from './owned';
import { redeliverEvent, redeliverSince } from './redeliver';
import { testEndpoint } from './test-call';

/** An endpoint in the list for operators. */
export type OperatedEndpoint = Endpoint & { readonly app: string };

/** Returns the endpoints of all apps, or of one, the oldest first. */
export function listAllEndpoints(db: Database, app?: string): Promise<OperatedEndpoint[]> {
  return rows(
    db,
    `select app_name as app, ${ENDPOINT_COLUMNS} from webhook_endpoints where deleted_at is null and ($1::text is null or app_name = $1) order by id`,
    [app ?? null],
  );
}

/**
 * Finds an endpoint of any app.
 * @throws OperatorError
 */
export async function findEndpoint(db: Pick<Database, 'query'>, id: string): Promise<Owned> {
  const [found] = isUuid(id)
    ? await rows<Owned>(db, 'select id, app_name as app from webhook_endpoints where id = $1 and deleted_at is null', [
        id,
      ])
    : [];
  if (found === undefined) throw new OperatorError(`no webhook endpoint has the id ${id}`);
  return found;
}

/** Disables an endpoint by a decision of an operator. Idempotent. */
export async function disableByOperator(
  ctx: Pick<Context, 'db' | 'metrics'> & Audited,
  owned: Owned,
): Promise<Endpoint> {
  const disabled = await disableEndpoint(ctx, owned.id, 'operator');
  if (disabled !== undefined) ctx.metrics.webhookDisabled(disabled, undefined);
  return getEndpoint(ctx.db, owned);
}

const operated = (action: 'webhook.test' | 'webhook.redeliver', detail: string) => `
with changed as (
  select id, app_name from webhook_endpoints where id = $3
), ${audited(action, detail)}
select id from changed`;

const TESTED = operated('webhook.test', `jsonb_build_object('app', app_name)`);

const REDELIVERED = operated(
  'webhook.redeliver',
  `jsonb_strip_nulls(jsonb_build_object('app', app_name, 'event_id', $4::uuid, 'since', $5::timestamptz))`,
);

/**
 * Tests an endpoint by a decision of an operator.
 * @throws Problem `not-found`, `too-many-requests`, `unavailable`
 */
export function testByOperator(
  ctx: Parameters<typeof testEndpoint>[0] & Audited,
  client: WebhookClient,
  owned: Owned,
  origin: Origin,
): Promise<WebhookOutcome> {
  const audit = (tx: Audited['db']) => rows(tx, TESTED, [...auditParameters(ctx), owned.id]);
  return testEndpoint(ctx, client, owned, origin, audit);
}

/**
 * Delivers an event, or all since an instant, again by a decision of an operator.
 * @throws Problem `not-found`, `endpoint-disabled`, `redelivery-in-progress`, `unavailable`
 */
export function redeliverByOperator(
  ctx: Pick<Context, 'db'> & Audited,
  owned: Owned,
  from: { readonly event: string } | { readonly since: Date },
): Promise<void> {
  const audit = (event: string | null, since: Date | null) => (tx: Audited['db']) =>
    rows(tx, REDELIVERED, [...auditParameters(ctx), owned.id, event, since]);
  return 'event' in from
    ? redeliverEvent(ctx.db, owned, from.event, audit(from.event, null))
    : redeliverSince(ctx.db, owned, from.since, audit(null, from.since));
}
