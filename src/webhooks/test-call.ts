import type { EntityManager } from 'typeorm';
import type { WriteAudit } from '../audit/audit';
import type { Context } from '../context';
import type { Schemas } from '../contract/document';
import { newSpan, type Origin } from '../contract/trace-context';
import { rows, transaction } from '../db/query';
import { Problem } from '../problems';
import type { WebhookClient, WebhookOutcome } from './client';
import { countForApp } from './limits';
import { type Owned, requireId } from './owned';
import { openSecrets, type StoredSecret, validSecrets } from './secrets';

const TESTED = `
select w.url, ${validSecrets('w.id')} as secrets
from webhook_endpoints w where w.id = $1 and w.app_name = $2 and w.deleted_at is null`;

type Tested = { readonly url: string; readonly secrets: readonly StoredSecret[] | null };

/**
 * Sends a signed `webhook.test` event to an endpoint once, also to a disabled one. Changes no counter of the endpoint.
 * @throws Problem `not-found`, `too-many-requests` after 10 tests of the app within a minute, `unavailable` when the service stops
 */
export async function testEndpoint(
  ctx: Pick<Context, 'db' | 'keys' | 'random' | 'stopping'>,
  client: WebhookClient,
  { id, app }: Owned,
  origin: Origin,
  audit?: WriteAudit,
): Promise<WebhookOutcome> {
  requireId(id);
  const work = async (tx: EntityManager) => {
    const [found] = await rows<Tested>(tx, TESTED, [id, app]);
    if (found === undefined) throw new Problem('not-found');
    await countForApp(tx, app, 'tested_at');
    await audit?.(tx);
    return found;
  };
  const tested = await transaction(ctx.db, work, 'READ COMMITTED');
  const event: Schemas['WebhookTestEvent'] = {
    id: ctx.random.uuid(),
    type: 'webhook.test',
    timestamp: new Date().toISOString(),
    data: { endpoint_id: id.toLowerCase() },
  };
  return client.send(
    {
      url: tested.url,
      id: event.id,
      origin: { requestId: origin.requestId, trace: newSpan(ctx.random, origin.trace) },
      compose: () => ({ body: JSON.stringify(event), secrets: openSecrets(ctx.keys, tested.secrets ?? []) }),
    },
    ctx.stopping,
  );
}
