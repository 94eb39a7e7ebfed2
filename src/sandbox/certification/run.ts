import { validate as isUuid } from 'uuid';
import { CERTIFICATION_CHANNEL } from '../../conformance/channel';
import type { Report } from '../../conformance/check';
import type { Context } from '../../context';
import { rows } from '../../db/query';
import { readUntil } from '../../db/read-until';
import { Problem } from '../../problems';

export type RunStatus = 'running' | 'finished' | 'interrupted';

/** A run of the checks of a CPO's endpoint. */
export type Run = {
  readonly id: string;
  readonly status: RunStatus;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
  /** How many checks have a verdict. */
  readonly done: number;
  readonly total: number;
  /** The report of a finished run. */
  readonly report: Report | null;
};

/** A run whose process has died is interrupted when its lease ends. */
const COLUMNS = `id, started_at as "startedAt", done, total, report,
  case when status = 'running' and leased_until <= now() then 'interrupted' else status end as status,
  case when status = 'running' and leased_until <= now() then leased_until else ended_at end as "endedAt"`;

const READ = `
select ${COLUMNS}, ceil(extract(epoch from leased_until - now()) * 1000)::int as "leasedForMs"
from certification_runs where cpo_id = $1 and id = $2`;

/**
 * Waits until a run of a CPO has ended, `waitSeconds` have passed or the signal aborts.
 * @param signal belongs to this request alone
 * @throws Problem `not-found`
 */
export function followRun(
  { listener, db }: Pick<Context, 'listener' | 'db'>,
  cpoId: string,
  id: string,
  waitSeconds: number,
  signal: AbortSignal,
): Promise<Run> {
  const read = async () => {
    const [run] = isUuid(id) ? await rows<Run & { leasedForMs: number }>(db, READ, [cpoId, id]) : [];
    if (run === undefined) throw new Problem('not-found');
    return { value: run, final: run.status !== 'running', againInMs: run.leasedForMs + 1 };
  };
  return readUntil(listener, { channel: CERTIFICATION_CHANNEL, payload: id.toLowerCase() }, read, waitSeconds, signal);
}

/** The latest finished run of each CPO. */
export type LastResult = {
  readonly cpoId: string;
  readonly finishedAt: Date;
  readonly counts: Report['counts'];
};

/** Returns the latest finished run of each CPO that has one. */
export function listLastResults(db: Context['db']): Promise<LastResult[]> {
  return rows(
    db,
    `select distinct on (cpo_id) cpo_id as "cpoId", ended_at as "finishedAt", report -> 'counts' as counts
     from certification_runs where status = 'finished' order by cpo_id, id desc`,
  );
}
