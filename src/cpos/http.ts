import type { Context } from '../context';
import type { Handlers } from '../contract';
import { readPage } from '../page';
import { protocols } from '../protocols';
import { callerOf, cpoOf } from '../tokens/caller';
import { listCallableCpos } from './cpos';

export function cpoHandlers(ctx: Context): Pick<Handlers, 'whoAmI' | 'listCpos'> {
  return {
    whoAmI(_req, res) {
      const { id, name } = cpoOf(res);
      res.json({ cpo: { id, name }, token: { expires_at: callerOf(res).expiresAt.toISOString() }, limits: [] });
    },

    async listCpos(req, res) {
      const page = await readPage(
        req.query,
        '',
        ({ name }: { id: string; name: string }) => name,
        (after, limit) => listCallableCpos(ctx.db, after, limit),
        (cpo) => ({ ...cpo, payload_protocols: Object.keys(protocols) }),
      );
      res.json(page);
    },
  };
}
