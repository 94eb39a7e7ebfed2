import type { Request, RequestHandler, Response } from 'express';
import { repeatsCode } from '../codes/code';
import type { Context } from '../context';
import type { OperationId } from '../contract/document';
import type { ProblemType } from '../contract/problem-types';
import { type Origin, originFields } from '../contract/trace-context';
import { evaluatePointer } from '../contract/validation-errors';
import { BackgroundWriter } from '../db/background-writer';
import { rows } from '../db/query';
import { Problem, type ValidationError } from '../problems';
import { isPayloadProtocol } from '../protocols';
import { isUid } from '../stations/station';
import { cpoOf } from '../tokens/caller';
import type { AttemptOutcome } from './list-attempts';

/** The compiler reports an operation that pairs and is missing here. */
const PAIR_OPERATIONS: Readonly<Record<Extract<OperationId, `pair${string}`>, true>> = {
  pairOcpp: true,
  pairOcpi22: true,
  pairOcpi221: true,
  pairOcpi230: true,
};

/**
 * Lists the problems raised before `scsp_pair_v4`, which stores all other attempts itself. Load shedding is not
 * recorded: it says nothing about the request, and storing it would add load.
 */
const STORED_PROBLEMS: ReadonlySet<unknown> = new Set<ProblemType & AttemptOutcome>([
  'invalid-request',
  'malformed-request',
  'unsupported-protocol',
  'body-too-large',
  'unsupported-media-type',
  'request-timeout',
  'idempotency-key-reused',
  'idempotency-in-progress',
]);
/** The name under which unsupported protocols are stored. */
const UNKNOWN_PROTOCOL = 'unknown';
const MAX_DETAIL_LENGTH = 500;
/** For the developer of a self-service CPO: a hundred validation errors, as many as a response has. */
const MAX_SANDBOX_DETAIL_LENGTH = 20_000;
const GATHER_MS = 25;

const STORE = `
insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome, detail)
select * from jsonb_to_recordset($1::jsonb) as r (
  id uuid, cpo_id uuid, request_id text, payload_protocol text, uid text, outcome text, detail text)`;

type Row = {
  id: string;
  cpo_id: string;
  request_id: string;
  payload_protocol: string;
  uid: string | undefined;
  outcome: ProblemType;
  detail: string;
};

type Pending = { readonly row: Row; readonly origin: Origin };

/** Stores pairing requests that are rejected before their code is checked, after the response has been sent. */
export class RefusedAttempts {
  readonly #writer: BackgroundWriter<Pending>;

  constructor(readonly ctx: Pick<Context, 'db' | 'random' | 'log' | 'metrics'>) {
    this.#writer = new BackgroundWriter({
      store: (batch) => rows(ctx.db, STORE, [JSON.stringify(batch.map(({ row }) => row))]),
      onLost: ({ row, origin }, reason) =>
        ctx.log.warn('refused attempt not stored', { ...originFields(origin), cpo_id: row.cpo_id, reason }),
      gatherMs: GATHER_MS,
    });
  }

  /** Must run after authentication and before the body is read. */
  readonly watch: RequestHandler = (req, res, next) => {
    if (Object.hasOwn(PAIR_OPERATIONS, req.openapi?.schema.operationId ?? ''))
      res.once('close', () => this.#record(req, res));
    next();
  };

  /** Resolves once all pending attempts are stored. */
  stop(): Promise<void> {
    return this.#writer.stop();
  }

  #record(req: Request, res: Response): void {
    const problem: unknown = res.locals.problem;
    if (!(problem instanceof Problem && STORED_PROBLEMS.has(problem.type))) return;
    const { id, sandbox } = cpoOf(res);
    const protocol = protocolIn(req.path);
    this.ctx.metrics.pairRequestRejected(problem.type, { cpo_id: id, payload_protocol: protocol });
    const row: Row = {
      id: this.ctx.random.uuid(),
      cpo_id: id,
      request_id: res.locals.requestId,
      payload_protocol: protocol,
      uid: uidIn(req.body),
      outcome: problem.type,
      detail: detailOf(problem, sandbox ? MAX_SANDBOX_DETAIL_LENGTH : MAX_DETAIL_LENGTH),
    };
    this.#writer.add(id, { row, origin: res.locals.origin });
  }
}

function protocolIn(path: string): string {
  const name = decodeURIComponent(path.split('/')[3] ?? '');
  return isPayloadProtocol(name) ? name : UNKNOWN_PROTOCOL;
}

/** Returns the uid in a request, undefined if it is not a valid uid or repeats the code, which must not be stored. */
function uidIn(body: unknown): string | undefined {
  const uid = evaluatePointer(body, '/charging_station/uid') ?? evaluatePointer(body, '/evse/uid');
  const code = evaluatePointer(body, '/code');
  if (!isUid(uid)) return undefined;
  return typeof code === 'string' && repeatsCode(uid, code) ? undefined : uid;
}

/**
 * Describes the validation errors without any value of the request: a misplaced value may be a pairing code, which is
 * never stored. Omits pointers into a body that was not validated, because they contain its member names. If there is not enough room
 * for all errors, it says how many are left out.
 */
function detailOf({ type, errors, message }: Problem, limit: number): string {
  if (errors === undefined) return message.slice(0, limit);
  const pointerOf = (error: ValidationError) => (type === 'malformed-request' ? '' : error.pointer);
  const texts = errors.map((error) => `${pointerOf(error)} ${error.message}`.trim());
  const first = (count: number) => texts.slice(0, count).join('; ');
  if (first(texts.length).length <= limit) return first(texts.length);
  const room = limit - '; and 99 more'.length;
  let count = texts.length - 1;
  while (count > 1 && first(count).length > room) count -= 1;
  return `${first(count).slice(0, room)}; and ${texts.length - count} more`;
}
