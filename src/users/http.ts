import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { Problem } from '../problems';
import { callerOf } from '../tokens/caller';
import { forgetUser } from './forget';
import { completeErasuresOf, notifyPendingErasures } from './pending-erasures';

/** An answer comes within 5 s (contract, section 7), and a statement takes up to 2 s: no batch is begun after these. */
const FORGET_MS = 3_000;
const COMPLETE_MS = 1_000;

export function userHandlers(ctx: Context): Pick<Handlers, 'forgetUser'> {
  return {
    async forgetUser(req, res) {
      const began = performance.now();
      const actor = `app token ${callerOf(res).tokenId}`;
      const { pairingIds } = await forgetUser({ ...ctx, actor }, req.params.user_id, {
        deadline: began + FORGET_MS,
        origin: res.locals.origin,
      });
      await eraseSome(ctx, pairingIds, began + COMPLETE_MS);
      res.status(204).end();
    },
  };
}

/** Usually there is little left over and it is gone with the answer. What is not seen any more must not fail it. */
async function eraseSome({ db }: Context, pairingIds: string[], until: number): Promise<void> {
  try {
    if (!(await completeErasuresOf(db, pairingIds, () => performance.now() < until))) await notifyPendingErasures(db);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}
