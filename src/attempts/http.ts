import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract/document';
import { idIn, LAST_ID, readPage, writeCursor } from '../http/pagination';
import { cpoOf } from '../tokens/caller';
import { type Attempt, statusOf } from './attempts';
import { listAttempts } from './list-attempts';

export function attemptHandlers(ctx: Context): Pick<Handlers, 'listAttempts'> {
  return {
    async listAttempts(req, res) {
      const { request_id: requestId, uid, outcome } = req.query;
      let continueAfter: string | undefined;
      const read = async (before: string, limit: number) => {
        const found = await listAttempts(ctx.db, cpoOf(res).id, idIn(before), limit, { requestId, uid, outcome });
        continueAfter = found.continueAfter;
        return found.attempts;
      };
      const page = await readPage(req.query, LAST_ID, ({ id }) => id, read, writeAttempt);
      if (continueAfter !== undefined) page.next_cursor ??= writeCursor(continueAfter);
      res.json(page);
    },
  };
}

function writeAttempt(attempt: Attempt): Schemas['Attempt'] {
  return {
    id: attempt.id,
    attempted_at: attempt.attemptedAt.toISOString(),
    request_id: attempt.requestId,
    payload_protocol: attempt.payloadProtocol,
    uid: attempt.uid ?? undefined,
    outcome: attempt.outcome,
    status: statusOf(attempt),
    detail: attempt.detail ?? undefined,
  };
}
