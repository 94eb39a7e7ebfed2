import { setTimeout as sleep } from 'node:timers/promises';
import type { Request, RequestHandler, Response } from 'express';
import { normalizeCode } from '../codes/code';
import type { Context } from '../context';
import type { OperationId } from '../contract/document';
import { valueAt } from '../contract/validation-errors';
import { Batcher, requestDeadlines } from '../db/batcher';
import { rows } from '../db/query';
import { Problem, type ProblemType } from '../problems';
import { isPayloadProtocol } from '../protocols';
import { cpoOf } from '../tokens/caller';

const PAIR_OPERATIONS: ReadonlySet<unknown> = new Set<OperationId>([
  'pairOcpp',
  'pairOcpi22',
  'pairOcpi221',
  'pairOcpi230',
]);
/**
 * Answered before the statement that pairs, which stores every other attempt itself. Refusals for load are left out:
 * to store them would add to the load, and they say nothing of the request.
 */
const REFUSALS: ReadonlySet<unknown> = new Set<ProblemType>([
  'invalid-request',
  'malformed-request',
  'unsupported-protocol',
  'body-too-large',
  'unsupported-media-type',
  'request-timeout',
  'idempotency-key-reused',
  'idempotency-in-progress',
]);
const UID = /^[\x20-\x7e]{1,48}$/;
/** Stands for a protocol that is none of ours. */
const UNKNOWN_PROTOCOL = 'unknown';
const LONGEST_DETAIL = 500;
/** A CPO that sends nonsense as fast as it can fills neither the memory nor the pool. */
const MOST_AT_ONCE = 1_000;
const LARGEST_BATCH = 100;
/** Nobody waits for them: what is refused within this time goes to the database together. */
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

/** Stores requests to pair that are refused before they reach the code, once their answers are out. */
export class RefusedAttempts {
  readonly #batcher: Batcher<Row, undefined>;
  readonly #storing = new Set<Promise<void>>();
  #gathered: Promise<void> | undefined;

  constructor(readonly ctx: Pick<Context, 'db' | 'random' | 'log'>) {
    this.#batcher = new Batcher({
      async work(set) {
        await rows(ctx.db, STORE, [JSON.stringify(set)]);
        return set.map(() => undefined);
      },
      largest: LARGEST_BATCH,
      failsAll: (error) => error instanceof Problem,
    });
  }

  /** For requests whose caller is known, before their body is read. */
  readonly watch: RequestHandler = (req, res, next) => {
    if (PAIR_OPERATIONS.has(req.openapi?.schema.operationId)) res.once('close', () => this.#note(req, res));
    next();
  };

  /** Resolves when what was refused until now is stored. */
  async stop(): Promise<void> {
    await Promise.all(this.#storing);
  }

  #note(req: Request, res: Response): void {
    const problem: unknown = res.locals.problem;
    if (!(problem instanceof Problem && REFUSALS.has(problem.type))) return;
    const request_id: string = res.locals.requestId;
    const lost = (reason: string) => this.ctx.log.warn('refused attempt not stored', { request_id, reason });
    if (this.#storing.size >= MOST_AT_ONCE) return lost('too many at once');
    const row = {
      id: this.ctx.random.uuid(),
      cpo_id: cpoOf(res).id,
      request_id,
      payload_protocol: protocolIn(req.path),
      uid: uidIn(req.body),
      outcome: problem.type,
      detail: detailOf(problem).slice(0, LONGEST_DETAIL),
    };
    const storing = this.#gather()
      .then(() => this.#batcher.add(row.cpo_id, row, requestDeadlines()))
      .catch((error: unknown) => lost(String(error)))
      .finally(() => this.#storing.delete(storing));
    this.#storing.add(storing);
  }

  #gather(): Promise<void> {
    this.#gathered ??= sleep(GATHER_MS).then(() => {
      this.#gathered = undefined;
    });
    return this.#gathered;
  }
}

function protocolIn(path: string): string {
  const name = decodeURIComponent(path.split('/')[3] ?? '');
  return isPayloadProtocol(name) ? name : UNKNOWN_PROTOCOL;
}

/** Returns the uid of a request, undefined for one that cannot be a uid or that is the code once more. */
function uidIn(body: unknown): string | undefined {
  const uid = valueAt(body, '/charging_station/uid') ?? valueAt(body, '/evse/uid');
  const code = valueAt(body, '/code');
  if (typeof uid !== 'string' || !UID.test(uid)) return undefined;
  return typeof code === 'string' && normalizeCode(uid) === normalizeCode(code) ? undefined : uid;
}

/**
 * Says what was wrong in words of the contract. What was sent is left out: in a wrong place it may be the customer's code,
 * which is never stored. So are the pointers into a body that was not validated: they hold its own member names.
 */
function detailOf({ type, errors, message }: Problem): string {
  if (errors === undefined) return message;
  const place = (pointer: string) => (type === 'malformed-request' ? '' : pointer);
  return errors.map((error) => `${place(error.pointer)} ${error.message}`.trim()).join('; ');
}
