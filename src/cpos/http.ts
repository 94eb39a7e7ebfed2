import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { readPage } from '../http/pagination';
import { protocols } from '../protocols';
import { listCallableCpos } from './cpos';

type Choice = Awaited<ReturnType<typeof listCallableCpos>>[number];

export function cpoHandlers(ctx: Context): Pick<Handlers, 'listCpos'> {
  return {
    async listCpos(req, res) {
      const page = await readPage(
        req.query,
        '',
        ({ name }: Choice) => name,
        (after, limit) => listCallableCpos(ctx.db, after, limit),
        ({ id, name, payloadProtocols }) => ({
          id,
          name,
          payload_protocols: Object.keys(protocols).filter((one) => payloadProtocols?.includes(one) ?? true),
        }),
      );
      res.json(page);
    },
  };
}
