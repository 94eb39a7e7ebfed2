import type { Attempt } from '../../attempts/attempts';
import { listAttempts } from '../../attempts/list-attempts';
import { listCalls, type StoredCall } from '../../calls/calls';
import { rows } from '../../db/query';
import { FIRST_ID, LAST_ID } from '../../http/pagination';
import { listWaiting, type Waiting } from '../../outbox/waiting';
import { listOwnStations, type OwnStation } from '../../stations/stations';
import { type CertificationItem, listCertification } from '../certification/list';
import type { Run } from '../certification/run';
import type { RunContext } from '../certification/start-run';
import { formToken } from './own-form';
import type { Session } from './session';

/** The latest attempts and calls on the page; the API lists all. */
const LATEST = 20;
const MOST_STATIONS = 50;

export type LatestRun = Pick<Run, 'status' | 'startedAt' | 'done' | 'total'>;

const LATEST_RUN = `
select case when status = 'running' and leased_until <= now() then 'interrupted' else status end as status,
  started_at as "startedAt", done, total
from certification_runs where cpo_id = $1 order by id desc limit 1`;

/** What the page of a CPO shows. */
export type View = {
  readonly session: Session;
  readonly formToken: string;
  /** The address of this server, for commands. */
  readonly server: string;
  /** Whether backends on this machine are called, also over http. */
  readonly callsLoopback: boolean;
  readonly stations: readonly OwnStation[];
  readonly attempts: readonly Attempt[];
  readonly baseUrl: string | undefined;
  readonly calls: readonly StoredCall[];
  readonly waiting: readonly Waiting[];
  readonly certification: readonly CertificationItem[];
  readonly run: LatestRun | undefined;
};

/**
 * Reads what the page shows, one query after the other, so that a page takes one connection at a time.
 * @throws Problem `unavailable`
 */
export async function readView(ctx: RunContext, session: Session, server: string): Promise<View> {
  const { id } = session.cpo;
  const stations = await listOwnStations(ctx.db, true, id, FIRST_ID, MOST_STATIONS);
  const { attempts } = await listAttempts(ctx.db, id, LAST_ID, LATEST);
  const calls = await listCalls(ctx.db, id, LAST_ID, LATEST);
  const waiting = await listWaiting(ctx.db, id);
  const [cpo] = await rows<{ baseUrl: string | null }>(ctx.db, 'select base_url as "baseUrl" from cpos where id = $1', [
    id,
  ]);
  // Before the verdicts: a run that has ended between the two would be shown without its own.
  const [run] = await rows<LatestRun>(ctx.db, LATEST_RUN, [id]);
  const certification = await listCertification(ctx, session.cpo, ctx.runner.settings.times);
  return {
    session,
    formToken: formToken(ctx.keys, session),
    server,
    callsLoopback: ctx.config.callsLoopback,
    stations,
    attempts,
    baseUrl: cpo?.baseUrl ?? undefined,
    calls,
    waiting,
    certification,
    run,
  };
}
