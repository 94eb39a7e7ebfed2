import { setTimeout as sleep } from 'node:timers/promises';
import type { Request, RequestHandler, Response } from 'express';
import type { Context } from '../context';
import type { OperationId } from '../contract';
import { Batches } from '../db/batches';
import { rows } from '../db/database';
import { valueAt } from '../faults';
import { Problem, type ProblemType } from '../problems';
import { cpoOf } from '../tokens/caller';

const PAIR_OPERATIONS: ReadonlySet<unknown> = new Set<OperationId>(['pairOcpp', 'pairOcpi22', 'pairOcpi221']);
/** Answered before the statement that pairs, which stores every other attempt itself. */
const REFUSALS: ReadonlySet<unknown> = new Set<ProblemType>([
  'invalid-request',
  'malformed-request',
  'unsupported-protocol',
  'body-too-large',
  'unsupported-media-type',
]);
const LONGEST_NAME = 48;
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
  readonly #batches: Batches<Row, undefined>;
  readonly #storing = new Set<Promise<void>>();
  #gathered: Promise<void> | undefined;

  constructor(readonly ctx: Pick<Context, 'db' | 'chance' | 'log'>) {
    this.#batches = new Batches(
      async (_key, batch) => {
        await rows(ctx.db, STORE, [JSON.stringify(batch)]);
        return batch.map(() => undefined);
      },
      LARGEST_BATCH,
      (error) => error instanceof Problem,
    );
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
      id: this.ctx.chance.uuid(),
      cpo_id: cpoOf(res).id,
      request_id,
      payload_protocol: first(LONGEST_NAME, decodeURIComponent(req.path.split('/')[3] ?? '')),
      uid: uidIn(req.body),
      outcome: problem.type,
      detail: first(LONGEST_DETAIL, inWords(problem)),
    };
    const storing = this.#gather()
      .then(() => this.#batches.add('', row))
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

function uidIn(body: unknown): string | undefined {
  const uid = valueAt(body, '/charging_station/uid') ?? valueAt(body, '/evse/uid');
  return typeof uid === 'string' ? first(LONGEST_NAME, uid) : undefined;
}

function inWords({ errors, message }: Problem): string {
  if (errors === undefined) return message;
  return errors.map((fault) => `${fault.pointer} ${withoutCode(fault.message)}`.trim()).join('; ');
}

/** What was sent in a wrong place may be the customer's code, which is never stored. */
function withoutCode(message: string): string {
  return message.replace(/, got "[\d -]{4,}"$/, ', got digits');
}

/** A surrogate that loses its other half could not be stored. */
function first(count: number, text: string): string {
  return text.slice(0, count).toWellFormed();
}
