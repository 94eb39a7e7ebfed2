import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract/document';
import { idIn, LAST_ID, readPage } from '../http/pagination';
import { listWaiting, type Waiting } from '../outbox/waiting';
import { cpoOf } from '../tokens/caller';
import { listCalls, type StoredCall } from './calls';

export function callHandlers(ctx: Context): Pick<Handlers, 'listCalls'> {
  return {
    async listCalls(req, res) {
      const { id } = cpoOf(res);
      const page = await readPage(
        req.query,
        LAST_ID,
        (call) => call.id,
        (before, limit) => listCalls(ctx.db, id, idIn(before), limit, req.query.request_id),
        writeCall,
      );
      res.json({ ...page, waiting: (await listWaiting(ctx.db, id)).map(writeWaiting) });
    },
  };
}

function writeCall(call: StoredCall): Schemas['Call'] {
  return {
    id: call.id,
    called_at: call.calledAt.toISOString(),
    operation: call.operation,
    payload_protocol: call.payloadProtocol,
    request_id: call.requestId,
    status: call.status ?? undefined,
    duration_ms: call.durationMs,
    outcome: call.outcome,
    errors: call.errors === null ? undefined : [...call.errors],
  };
}

function writeWaiting(waiting: Waiting): Schemas['WaitingCall'] {
  return {
    operation: 'unpair',
    payload_protocol: waiting.payloadProtocol,
    uid: waiting.uid ?? undefined,
    since: waiting.createdAt.toISOString(),
    attempts: waiting.attempts,
    next_attempt_at: waiting.nextAttemptAt.toISOString(),
  };
}
