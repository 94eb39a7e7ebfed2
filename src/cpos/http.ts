import type { Context } from '../context';
import type { Handlers } from '../contract';
import { readPage } from '../page';
import { protocols } from '../protocols';
import { listCallableCpos } from './cpos';

export function cpoHandlers(ctx: Context): Pick<Handlers, 'listCpos'> {
  return {
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
