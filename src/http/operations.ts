import { codeHandlers } from '../codes/http';
import type { Context } from '../context';
import type { Contract, Handlers } from '../contract/document';
import type { CpoClient } from '../cpos/client';
import { cpoHandlers } from '../cpos/http';
import { rows } from '../db/query';
import { eventHandlers } from '../events/http';
import { linkHandlers } from '../links/http';
import { pairingHandlers } from '../pairing/http';
import { Problem } from '../problems';
import { pageHandlers } from '../site/pages';
import { stationHandlers } from '../stations/http';
import { userHandlers } from '../users/http';
import type { WebhookClient } from '../webhooks/client';
import { webhookHandlers } from '../webhooks/http';

/** A handler for every operation of openapi.yaml. */
export function operationHandlers(
  ctx: Context,
  contract: Contract,
  client: CpoClient,
  webhooks: WebhookClient,
): Handlers {
  /** Simultaneous probes share a statement, so that they never fill the pool. */
  let asking: Promise<unknown> | undefined;
  return {
    ...pairingHandlers(ctx, client),
    ...codeHandlers(ctx),
    ...stationHandlers(ctx),
    ...userHandlers(ctx),
    ...cpoHandlers(ctx),
    ...eventHandlers(ctx),
    ...webhookHandlers(ctx, webhooks),
    ...linkHandlers(ctx),
    ...pageHandlers(ctx, contract),

    live(_req, res) {
      res.json({ status: 'ok' });
    },

    async ready(_req, res) {
      if (ctx.stopping.aborted) throw new Problem('unavailable', { message: 'The service is stopping.' });
      asking ??= rows(ctx.db, 'select 1').finally(() => {
        asking = undefined;
      });
      await asking;
      res.json({ status: 'ok' });
    },
  };
}
