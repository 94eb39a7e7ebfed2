import { type ProblemType, problems } from '../contract/problem-types';
import type { Database } from '../db/pool';
import { rows } from '../db/query';

/** Records a pairing request of an authenticated CPO and its outcome. */
export type Attempt = {
  readonly id: string;
  readonly cpoId: string;
  readonly attemptedAt: Date;
  readonly requestId: string;
  readonly payloadProtocol: string;
  readonly uid: string | null;
  /** `paired`, or the type of the problem in the response. */
  readonly outcome: string;
  readonly detail: string | null;
  /** Why a code was incorrect: `unknown`, `expired`, `cancelled`, `used` or `other-cpo`. Shown to operators only. */
  readonly reason: string | null;
};

/** Is true while an attempt's uid is due for erasure because the station's user has been forgotten. */
const FORGOTTEN = `exists (select from erasures e where e.station_uid = lower(a.uid collate "C"))`;

export const COLUMNS = `a.id, a.cpo_id as "cpoId", a.attempted_at as "attemptedAt", a.request_id as "requestId",
  a.payload_protocol as "payloadProtocol", a.outcome, a.reason,
  case when not ${FORGOTTEN} then a.uid end as uid, case when not ${FORGOTTEN} then a.detail end as detail`;

/** Returns the HTTP status of the response to an attempt. */
export function statusOf({ outcome }: Attempt): number {
  return outcome === 'paired' ? 200 : problems[outcome as ProblemType][0];
}

/** Reads the newest attempts of each CPO from the primary key, then picks the newest of those. */
const LATEST = `
select ${COLUMNS} from cpos c left join lateral (
  select * from attempts where cpo_id = c.id order by id desc limit $2
) a on true
where $1::uuid is null or c.id = $1
order by a.id desc nulls last limit $2`;

/** Lists the attempts of one CPO or of all, newest first. */
export async function latestAttempts(db: Database, cpoId: string | undefined, limit: number): Promise<Attempt[]> {
  const found = await rows<Attempt | { id: null }>(db, LATEST, [cpoId ?? null, limit]);
  return found.filter((attempt): attempt is Attempt => attempt.id !== null);
}
