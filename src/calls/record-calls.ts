import type { Context } from '../context';
import { type Origin, originFields } from '../contract/trace-context';
import { BackgroundWriter } from '../db/background-writer';
import { rows } from '../db/query';
import { MAX_VALIDATION_ERRORS } from '../problems';
import type { Call } from './call';

/** The database's clock tells when a call began. */
const STORE = `
insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, status, duration_ms, outcome, errors)
select id, cpo_id, now() - make_interval(secs => age), operation, payload_protocol, request_id, status, duration_ms, outcome, errors
from jsonb_to_recordset($1::jsonb) as r (
  id uuid, cpo_id uuid, age double precision, operation text, payload_protocol text, request_id text, status integer,
  duration_ms integer, outcome text, errors jsonb)`;

type Pending = Call & { readonly origin: Origin; readonly endedAt: number };

/** Logs and stores calls to CPOs after they have ended. Nothing waits for it, and a call that cannot be stored is only logged. */
export class RecordCalls {
  readonly #writer: BackgroundWriter<Pending>;

  constructor(readonly ctx: Pick<Context, 'db' | 'log' | 'metrics'>) {
    this.#writer = new BackgroundWriter({
      store: (batch) => rows(ctx.db, STORE, [JSON.stringify(batch.map(rowOf))]),
      onLost: ({ requestId, cpoId, origin }, reason) =>
        ctx.log.warn('call to a CPO not stored', {
          ...originFields(origin),
          call_request_id: requestId,
          cpo_id: cpoId,
          reason,
        }),
    });
  }

  /**
   * Records a call that has just ended.
   * @param origin the request that caused the call, with the span of the call
   * @param pairingId the pairing that the call is about, if it is stored here
   */
  add(call: Call, origin: Origin, pairingId?: string): void {
    const fields = { ...originFields(origin), pairing_id: pairingId, ...fieldsOf(call) };
    this.ctx.metrics.cpoCalled(call.durationMs / 1_000, fields);
    this.#writer.add(call.cpoId, { ...call, origin, endedAt: performance.now() });
  }

  /** Resolves once all pending calls are stored. */
  stop(): Promise<void> {
    return this.#writer.stop();
  }
}

const fieldsOf = (call: Call) => ({
  call_request_id: call.requestId,
  cpo_id: call.cpoId,
  operation: call.operation,
  payload_protocol: call.payloadProtocol,
  status: call.status,
  outcome: call.outcome,
});

function rowOf(call: Pending) {
  return {
    id: call.id,
    cpo_id: call.cpoId,
    age: (performance.now() - call.endedAt + call.durationMs) / 1_000,
    operation: call.operation,
    payload_protocol: call.payloadProtocol,
    request_id: call.requestId,
    status: call.status,
    duration_ms: Math.round(call.durationMs),
    outcome: call.outcome,
    ...(call.errors.length > 0 && { errors: call.errors.slice(0, MAX_VALIDATION_ERRORS).map(withoutValue) }),
  };
}

/** Leaves out the value of the answer that an error may show. */
const withoutValue = ({ pointer, message }: Call['errors'][number]) => ({ pointer, message });
