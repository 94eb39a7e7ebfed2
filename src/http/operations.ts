import { codeHandlers } from '../codes/http';
import type { Context } from '../context';
import type { Handlers, OpenApiDocument } from '../contract';
import { rows } from '../db/database';
import { pairingHandlers } from '../pairing/http';
import { Problem } from '../problems';
import { callerOf, cpoOf } from '../tokens/caller';
import { pageHandlers } from './pages';

/** A handler for every operation of openapi.yaml. */
export function operationHandlers(
  ctx: Context,
  contract: { text: string; document: OpenApiDocument },
): Handlers {
  return {
    ...pairingHandlers(ctx),
    ...codeHandlers(ctx),
    ...pageHandlers(ctx, contract),

    whoAmI(_req, res) {
      const { id, name } = cpoOf(res);
      res.json({ cpo: { id, name }, token: { expires_at: callerOf(res).expiresAt.toISOString() }, limits: [] });
    },

    live(_req, res) {
      res.json({ status: 'ok' });
    },

    async ready(_req, res) {
      if (ctx.stopping.aborted) throw new Problem('unavailable', { message: 'The service is stopping.' });
      await rows(ctx.db, 'select 1');
      res.json({ status: 'ok' });
    },
  };
}
