import type { EntityManager } from 'typeorm';
import { checksNamed, cpoChecks } from '../../conformance/cpo/checks';
import type { CpoCodes } from '../../conformance/cpo/codes-file';
import { parseTarget } from '../../conformance/cpo/target';
import type { Context } from '../../context';
import type { Origin } from '../../contract/trace-context';
import { notifiableCpo } from '../../cpos/cpos';
import { ADVISORY_LOCKS } from '../../db/locks';
import { rows, transaction } from '../../db/query';
import { OperatorError, Problem } from '../../problems';
import { isPayloadProtocol, type PayloadProtocol, protocols } from '../../protocols';
import { noEndpoint } from '../endpoint';
import { countForCpo } from '../limits';
import type { EndpointVerifier } from '../verify-endpoint';
import type { Run } from './run';
import type { Runner } from './runner';

/** What a CPO may say of a run. */
export type RunOptions = {
  readonly codes?: CpoCodes | undefined;
  /** The protocols that it serves; by default those that are known of it, or all. */
  readonly protocols?: readonly PayloadProtocol[] | undefined;
  readonly readOnly?: boolean | undefined;
  /** Checks or areas; all by default. */
  readonly only?: readonly string[] | undefined;
};

export type RunContext = Context & { readonly verifier: EndpointVerifier; readonly runner: Runner };

export const MOST_AT_ONCE = 4;
export const PER_DAY = 10;
/** A run ends within two minutes; four are likely to end one after the other. */
const BUSY_RETRY_AFTER_SECONDS = 30;

/** Ends a run whose process has died, so that the index of running ones has room for the next. */
const INTERRUPT_DEAD = `
with dead as (
  update certification_runs set status = 'interrupted', ended_at = leased_until
  where cpo_id = $1 and status = 'running' and leased_until <= now() returning 1
)
select count(*) from dead`;

const COUNT = `
select
  exists (select from certification_runs where cpo_id = $1 and status = 'running') as running,
  (select count(*)::int from certification_runs where status = 'running' and leased_until > now()) as "atOnce",
  (select ceil(extract(epoch from started_at + interval '1 day' - now()))::int from certification_runs
   where cpo_id = $1 and started_at > now() - interval '1 day'
   order by started_at desc offset ${PER_DAY - 1} limit 1) as "retryAfter"`;

const INSERT = `
insert into certification_runs (id, cpo_id, leased_until, total)
values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', $4)
returning id, status, started_at as "startedAt", ended_at as "endedAt", done, total, report`;

/**
 * Starts a run of the checks against the endpoint of a CPO, which must confirm once more that it wants to be called.
 * @returns the run, which goes on after that
 * @throws Problem `cpo-unavailable`, `certification-running`, `too-many-requests`, `invalid-request`, `unavailable`
 */
export function startRun(ctx: RunContext, cpoId: string, options: RunOptions, origin: Origin): Promise<Run> {
  return ctx.runner.starting.run(cpoId, async () => {
    const only = options.only && checksOf(options.only);
    await countForCpo(ctx.db, cpoId, 'run_at');
    const { baseUrl, token } = await confirmedEndpoint(ctx, cpoId, origin);
    const served = options.protocols ?? (await knownProtocols(ctx, cpoId));
    const [first, ...rest] = served.length > 0 ? served : Object.keys(protocols).filter(isPayloadProtocol);
    if (first === undefined) throw new TypeError('there is no payload protocol');
    if (ctx.stopping.aborted) throw new Problem('unavailable', { message: 'The service is stopping.' });
    const total = only?.length ?? cpoChecks.length;
    const run = await transaction(ctx.db, (tx) => insertRun(ctx, tx, cpoId, total), 'READ COMMITTED');
    const { codes = {}, readOnly = false } = options;
    const input = { target: baseUrl, token, codes, protocols: [first, ...rest], readOnly, only } as const;
    ctx.runner.start(cpoId, run.id, input, origin);
    return run;
  });
}

/** Returns the ids of checks and areas, each once. */
function checksOf(names: readonly string[]): string[] {
  const errors = names.flatMap((name, index) =>
    checksNamed(name).length > 0 ? [] : [{ pointer: `/only/${index}`, message: 'is not the id of a check or an area' }],
  );
  if (errors.length > 0)
    throw new Problem('invalid-request', { message: 'The request has validation errors, see errors.', errors });
  return [...new Set(names.flatMap(checksNamed).map(({ id }) => id))];
}

async function confirmedEndpoint(
  ctx: RunContext,
  cpoId: string,
  origin: Origin,
): Promise<{ baseUrl: string; token: string }> {
  const { baseUrl, token } = await notifiableCpo(ctx, cpoId).catch(noEndpoint);
  if (token === undefined)
    throw unavailable('This CPO has no token for its endpoint. Set it with PUT /v1/scsp/me/endpoint.');
  try {
    parseTarget(baseUrl, ctx.config.callsLoopback);
  } catch (error) {
    if (error instanceof OperatorError)
      throw unavailable(`The endpoint of this CPO cannot be checked: ${error.message}.`);
    throw error;
  }
  const refusal = await ctx.verifier.refusal(baseUrl, cpoId, origin);
  if (refusal === undefined) return { baseUrl, token };
  throw unavailable(
    `The endpoint must answer GET /.well-known/scsp-pairing below its base URL with the id of this CPO: ${refusal}.`,
  );
}

const unavailable = (message: string) => new Problem('cpo-unavailable', { message });

async function knownProtocols({ db }: Context, cpoId: string): Promise<PayloadProtocol[]> {
  const sql = `select unnest(payload_protocols) as protocol from cpos where id = $1`;
  return (await rows<{ protocol: string }>(db, sql, [cpoId])).map(({ protocol }) => protocol).filter(isPayloadProtocol);
}

async function insertRun(ctx: RunContext, tx: EntityManager, cpoId: string, total: number): Promise<Run> {
  await rows(tx, 'select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.certificationStart]);
  await rows(tx, INTERRUPT_DEAD, [cpoId]);
  type Count = { running: boolean; atOnce: number; retryAfter: number | null };
  const [count] = await rows<Count>(tx, COUNT, [cpoId]);
  if (count === undefined) throw new TypeError('a count returned no row');
  if (count.running) throw new Problem('certification-running');
  if (count.retryAfter !== null)
    throw tooMany(`At most ${PER_DAY} runs of a CPO start within 24 hours.`, count.retryAfter);
  if (count.atOnce >= MOST_AT_ONCE)
    throw tooMany(`${MOST_AT_ONCE} runs of CPOs are in progress, please try again.`, BUSY_RETRY_AFTER_SECONDS);
  const values = [ctx.random.uuid(), cpoId, ctx.runner.settings.leaseMs, total];
  const [run] = await rows<Run>(tx, INSERT, values);
  if (run === undefined) throw new TypeError('an insert returned no row');
  return run;
}

const tooMany = (message: string, seconds: number) =>
  new Problem('too-many-requests', { message, headers: { 'Retry-After': String(Math.max(1, seconds)) } });
