import { CERTIFICATION_CHANNEL } from '../../conformance/channel';
import type { Report } from '../../conformance/check';
import { type CpoRun, runCpoChecks } from '../../conformance/cpo/run';
import type { Context } from '../../context';
import type { Contract } from '../../contract/document';
import { type Origin, originFields } from '../../contract/trace-context';
import { rows } from '../../db/query';
import { startPeriodic } from '../../delivery/periodic';
import type { LogFields } from '../../log';
import { OneAtATime } from '../limits';
import { bounded } from './evidence';
import type { CertificationSettings } from './settings';

/** What a run has from its CPO. Codes and token stay in memory, and are gone with the run. */
export type RunInput = Pick<CpoRun, 'target' | 'token' | 'codes' | 'protocols' | 'readOnly' | 'only'>;

type TracedInput = RunInput & Required<Pick<CpoRun, 'trace'>>;

/** Renews the lease, unless it has ended or the CPO was suspended or removed. */
const RENEW = `
with renewed as (
  update certification_runs r set leased_until = now() + $3 * interval '1 millisecond', done = $4 from cpos c
  where r.cpo_id = $1 and r.id = $2 and r.status = 'running' and r.leased_until > now()
    and c.id = r.cpo_id and c.suspended_at is null
  returning 1
)
select 1 from renewed`;

/** Ends a run whose lease lasts. A check that was not run leaves the verdict of a former run. */
const END = `
with ended as (
  update certification_runs
  set status = case when $3::jsonb is null then 'interrupted' else 'finished' end, ended_at = now(), done = $4, report = $3
  where cpo_id = $1 and id = $2 and status = 'running' and leased_until > now()
  returning id, cpo_id, ended_at
), stored as (
  insert into certification_results as r (cpo_id, check_id, result, seen_at)
  select e.cpo_id, result ->> 'id', result, e.ended_at
  from ended e cross join jsonb_array_elements($3::jsonb -> 'checks') result
  on conflict (cpo_id, check_id) do update set result = excluded.result, seen_at = excluded.seen_at
  where excluded.result ->> 'verdict' <> 'not_run' or r.result ->> 'verdict' = 'not_run'
)
select id, pg_notify('${CERTIFICATION_CHANNEL}', id::text) from ended`;

/** Carries out runs of the checks of CPOs' endpoints in this process. A run holds no connection to the database while it calls. */
export class Runner {
  /** One start of a CPO at a time: the endpoint has to confirm it. */
  readonly starting = new OneAtATime();
  readonly #running = new Set<Promise<void>>();

  constructor(
    readonly ctx: Pick<Context, 'db' | 'log' | 'config' | 'stopping'>,
    readonly contract: Contract,
    readonly settings: CertificationSettings,
  ) {}

  /** Begins a run that has a row. */
  start(cpoId: string, id: string, input: RunInput, origin: Origin): void {
    const fields = { ...originFields(origin), cpo_id: cpoId, run_id: id };
    const running = this.#carryOut(cpoId, id, { ...input, trace: origin.trace }, fields)
      .catch((error: unknown) => this.ctx.log.warn('run of checks not stored', { ...fields, reason: String(error) }))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves once all runs have ended, which they do soon after the service begins to stop. */
  async stop(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #carryOut(cpoId: string, id: string, input: TracedInput, fields: LogFields): Promise<void> {
    const { db, log, stopping } = this.ctx;
    const { leaseMs, renewMs } = this.settings;
    const ending = new AbortController();
    const end = () => ending.abort();
    stopping.addEventListener('abort', end);
    if (stopping.aborted) end();
    let done = 0;
    const renewal = startPeriodic(
      { name: 'renewal of a run of checks', everyMs: renewMs, log, stopping: ending.signal },
      async () => {
        if ((await rows(db, RENEW, [cpoId, id, leaseMs, done])).length === 0) end();
      },
    );
    let report: Report | undefined;
    try {
      report = await this.#check(input, ending.signal, () => {
        done += 1;
      });
    } finally {
      stopping.removeEventListener('abort', end);
      await renewal.stop();
      const finished = ending.signal.aborted ? undefined : report;
      const json = finished === undefined ? null : JSON.stringify(bounded(finished));
      await rows(db, END, [cpoId, id, json, done]);
      const status = finished === undefined ? 'interrupted' : 'finished';
      log.info('run of checks ended', { ...fields, status });
    }
  }

  #check(input: TracedInput, signal: AbortSignal, onResult: () => void): Promise<Report> {
    const { contract, settings, ctx } = this;
    const { rate, limits } = settings;
    const loopback = ctx.config.callsLoopback;
    return runCpoChecks({ ...input, contract, loopback, rate, limits, jsonOnly: true, signal, onResult });
  }
}
