import type { Database } from '../db/pool';
import { rows } from '../db/query';
import type { CallOperation, CallOutcome } from './call';

/** A call that has been stored. */
export type StoredCall = {
  readonly id: string;
  readonly calledAt: Date;
  readonly operation: CallOperation;
  readonly payloadProtocol: string;
  readonly requestId: string;
  readonly status: number | null;
  readonly durationMs: number;
  readonly outcome: CallOutcome;
  readonly errors: readonly { pointer: string; message: string }[] | null;
};

const COLUMNS = `id, called_at as "calledAt", operation, payload_protocol as "payloadProtocol", request_id as "requestId",
  status, duration_ms as "durationMs", outcome, errors`;

/** Builds the query of a page. Retention may be late: what is older than 7 days is not shown. */
export const callsPage = (condition = '') => `
select ${COLUMNS} from calls
where cpo_id = $1 and id < $2 and called_at > now() - interval '7 days' ${condition}
order by id desc limit $3`;

/** Lists the calls to a CPO, newest first, with ids below `before`, optionally only the one with a request id. */
export function listCalls(
  db: Database,
  cpoId: string,
  before: string,
  limit: number,
  requestId?: string,
): Promise<StoredCall[]> {
  const page = [cpoId, before, limit];
  return requestId === undefined
    ? rows(db, callsPage(), page)
    : rows(db, callsPage('and request_id = $4'), [...page, requestId]);
}
