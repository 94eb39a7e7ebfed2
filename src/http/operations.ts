import { attemptHandlers } from '../attempts/http';
import { callHandlers } from '../calls/http';
import { codeHandlers } from '../codes/http';
import type { Context } from '../context';
import type { Contract, Handlers, SandboxHandlers } from '../contract/document';
import type { CpoClient } from '../cpos/client';
import { cpoHandlers } from '../cpos/http';
import { rows } from '../db/query';
import { eventHandlers } from '../events/http';
import { linkHandlers } from '../links/http';
import { type PairAndAnswer, pairingHandlers } from '../pairing/http';
import { Problem } from '../problems';
import { pageHandlers } from '../site/pages';
import { stationHandlers } from '../stations/http';
import { tokenHandlers } from '../tokens/http';
import { userHandlers } from '../users/http';
import type { WebhookClient } from '../webhooks/client';
import { webhookHandlers } from '../webhooks/http';

/** What a sandbox deployment replaces and adds. */
export type SandboxParts = {
  readonly pair: PairAndAnswer;
  /** Whether a code is never issued. */
  readonly isReserved: (code: string) => boolean;
  readonly handlers: SandboxHandlers;
};

/** A handler for every operation of openapi.yaml. */
export function operationHandlers(
  ctx: Context,
  contract: Contract,
  client: CpoClient,
  webhooks: WebhookClient,
  sandbox?: SandboxParts,
): Handlers & Partial<SandboxHandlers> {
  /** Simultaneous probes share a statement, so that they never fill the pool. */
  let asking: Promise<unknown> | undefined;
  return {
    ...pairingHandlers(ctx, client, sandbox?.pair),
    ...codeHandlers(ctx, sandbox?.isReserved),
    ...stationHandlers(ctx),
    ...userHandlers(ctx),
    ...cpoHandlers(ctx),
    ...attemptHandlers(ctx),
    ...callHandlers(ctx),
    ...tokenHandlers(ctx),
    ...eventHandlers(ctx),
    ...webhookHandlers(ctx, webhooks),
    ...linkHandlers(ctx),
    ...pageHandlers(ctx, contract),
    ...sandbox?.handlers,

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
