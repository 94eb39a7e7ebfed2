import type { Context } from '../context';
import type { Schemas } from '../contract/document';
import { newSpan, type Origin } from '../contract/trace-context';
import { rows, transaction } from '../db/query';
import { Problem } from '../problems';
import type { WebhookClient, WebhookOutcome } from './client';
import { type Owned, requireId } from './owned';
import { openSecrets, type StoredSecret, validSecrets } from './secrets';

const TESTS_PER_MINUTE = 10;

/** Counts a test of the last minute, unless there are too many. */
const COUNT = `
with endpoint as (
  select id, url, array(select t from unnest(tested_at) t where t > now() - interval '1 minute' order by t) as recent
  from webhook_endpoints where id = $1 and app_name = $2 and deleted_at is null for no key update
), counted as (
  update webhook_endpoints w set tested_at = e.recent || now()
  from endpoint e where w.id = e.id and cardinality(e.recent) < ${TESTS_PER_MINUTE}
  returning 1
)
select e.url, ${validSecrets('e.id')} as secrets, exists (select from counted) as allowed,
  ceil(extract(epoch from e.recent[1] + interval '1 minute' - now()))::int as "retryAfter"
from endpoint e`;

type Tested = {
  readonly url: string;
  readonly secrets: readonly StoredSecret[] | null;
  readonly allowed: boolean;
  readonly retryAfter: number | null;
};

/**
 * Sends a signed `webhook.test` event to an endpoint once, also to a disabled one. Changes no counter of the endpoint.
 * @throws Problem `not-found`, `too-many-requests` after 10 tests within a minute, `unavailable` when the service stops
 */
export async function testEndpoint(
  ctx: Pick<Context, 'db' | 'keys' | 'random' | 'stopping'>,
  client: WebhookClient,
  { id, app }: Owned,
  origin: Origin,
): Promise<WebhookOutcome> {
  requireId(id);
  const [tested] = await transaction(ctx.db, (tx) => rows<Tested>(tx, COUNT, [id, app]), 'READ COMMITTED');
  if (tested === undefined) throw new Problem('not-found');
  if (!tested.allowed)
    throw new Problem('too-many-requests', {
      message: `This endpoint was tested ${TESTS_PER_MINUTE} times within a minute, please try again later.`,
      headers: { 'Retry-After': String(Math.max(1, tested.retryAfter ?? 1)) },
    });
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
      secrets: openSecrets(ctx.keys, tested.secrets ?? []),
      origin: { requestId: origin.requestId, trace: newSpan(ctx.random, origin.trace) },
      compose: () => JSON.stringify(event),
    },
    ctx.stopping,
  );
}
