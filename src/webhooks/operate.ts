import { validate as isUuid } from 'uuid';
import type { Audited } from '../audit/audit';
import type { Context } from '../context';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import { disableEndpoint } from './disable';
import { type Endpoint, getEndpoint } from './endpoints';
import type { Owned } from './owned';

/** An endpoint in the list for operators. */
export type OperatedEndpoint = Endpoint & { readonly app: string };

/** Returns the endpoints of all apps, or of one, the oldest first. */
export function listAllEndpoints(db: Database, app?: string): Promise<OperatedEndpoint[]> {
  return rows(
    db,
    `select id, app_name as app, url, types, description, status, disabled_reason as "disabledReason",
       created_at as "createdAt", failing_since as "failingSince", last_success_at as "lastSuccessAt"
     from webhook_endpoints where deleted_at is null and ($1::text is null or app_name = $1) order by id`,
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
  if (disabled !== undefined) ctx.metrics.webhookDisabled(disabled);
  return getEndpoint(ctx.db, owned);
}
