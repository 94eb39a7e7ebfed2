import type { RequestHandler } from 'express';
import { isJson } from '../../conformance/client/observe';
import type { ObservedRequest } from '../../conformance/client/observed';
import type { Context } from '../../context';
import { type Origin, originFields } from '../../contract/trace-context';
import type { ValidateJson } from '../../contract/validate-json';
import { BackgroundWriter } from '../../db/background-writer';
import { rows } from '../../db/query';
import type { Caller } from '../../tokens/caller';
import type { TokenRegistry } from '../../tokens/registry';
import { describe, tokenOf } from './observe';

/** The requests of a CPO that are kept and judged. */
export const KEPT = 500;
const MAX_PENDING_PER_CPO = 200;
const GATHER_MS = 50;

const OBSERVED_PATHS = /^\/(v1\/scsp|elsewhere)\//;

/** A request that is stored is newer than those that the statement finds: some more than are kept may remain until the next one. */
const STORE = `
with observed as (
  select * from jsonb_to_recordset($1::jsonb) as r (id uuid, cpo_id uuid, at double precision, request jsonb)
), stored as (
  insert into observed_requests (id, cpo_id, observed_at, request)
  select id, cpo_id, to_timestamp(at / 1000), request from observed
), old as (
  select o.cpo_id, o.id from (select distinct cpo_id from observed) c cross join lateral (
    select cpo_id, id from observed_requests where cpo_id = c.cpo_id order by id desc offset ${KEPT}
  ) o
), removed as (
  delete from observed_requests o using old where o.cpo_id = old.cpo_id and o.id = old.id returning 1
)
select count(*) from removed`;

type Row = { readonly id: string; readonly cpo_id: string; readonly at: number; readonly request: ObservedRequest };

type Pending = { readonly row: Row; readonly origin: Origin };

/** Records the requests of self-service CPOs after they were answered, so that their callers can be judged. Nothing waits for it. */
export class RequestObserver {
  readonly #writer: BackgroundWriter<Pending>;

  constructor(
    readonly ctx: Pick<Context, 'db' | 'random' | 'log' | 'listener'>,
    readonly registry: Pick<TokenRegistry, 'known'>,
    readonly validate: ValidateJson,
  ) {
    this.#writer = new BackgroundWriter({
      store: (batch) => rows(ctx.db, STORE, [JSON.stringify(batch.map(({ row }) => row))]),
      onLost: ({ row, origin }, reason) =>
        ctx.log.warn('observed request not stored', { ...originFields(origin), cpo_id: row.cpo_id, reason }),
      gatherMs: GATHER_MS,
      maxPendingPerKey: MAX_PENDING_PER_CPO,
    });
  }

  /** Must run before everything that may refuse a request. */
  readonly watch: RequestHandler = (req, res, next) => {
    const token = OBSERVED_PATHS.test(req.originalUrl) ? tokenOf(req) : undefined;
    if (token === undefined) return next();
    // The time of the database, which replicas share. The media type is replaced once it was checked.
    const arrival = { at: this.ctx.listener.now(), isJson: isJson(req), token };
    let answeredAt: number | undefined;
    // Taken before the answer is sent: a pause that the caller makes must not look shorter than it was.
    res.once('prefinish', () => {
      answeredAt = this.ctx.listener.now();
    });
    res.once('close', () => {
      const caller: Caller | undefined = res.locals.caller ?? this.registry.known(token);
      // Other CPOs have customers, whose uids would have to be erased with them.
      if (caller?.cpo?.sandbox !== true) return;
      const request = describe(this.validate, req, res, arrival, answeredAt, this.ctx.listener.now());
      if (request === undefined) return;
      const { id } = caller.cpo;
      const row = { id: this.ctx.random.uuid(), cpo_id: id, at: request.at, request };
      this.#writer.add(id, { row, origin: res.locals.origin });
    });
    next();
  };

  /** Resolves once all pending requests are stored. */
  stop(): Promise<void> {
    return this.#writer.stop();
  }
}
