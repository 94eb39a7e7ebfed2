import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { Problem } from '../problems';
import { callerOf } from '../tokens/caller';
import { forgetUser } from './forget';
import { completeErasuresOf, notifyPendingErasures } from './pending-erasures';

/**
 * No batch starts after these times: a response must be sent within 5 s (contract, section 7), and a statement takes up
 * to 2 s.
 */
const FORGET_MS = 3_000;
const COMPLETE_MS = 1_000;

export function userHandlers(ctx: Context): Pick<Handlers, 'forgetUser'> {
  return {
    async forgetUser(req, res) {
      const start = performance.now();
      const actor = `app token ${callerOf(res).tokenId}`;
      const { pairingIds } = await forgetUser({ ...ctx, actor }, req.params.user_id, {
        deadline: start + FORGET_MS,
        origin: res.locals.origin,
      });
      await completeSome(ctx, pairingIds, start + COMPLETE_MS);
      res.status(204).end();
    },
  };
}

/**
 * Completes the erasures if time allows, otherwise leaves them to the job. A failure must not fail the request: no API
 * shows the data.
 */
async function completeSome({ db }: Context, pairingIds: string[], until: number): Promise<void> {
  try {
    if (!(await completeErasuresOf(db, pairingIds, () => performance.now() < until))) await notifyPendingErasures(db);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}
