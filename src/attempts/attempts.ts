import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { type ProblemType, problems } from '../problems';

/** A request to pair that was understood well enough to say whose it was, and what became of it. */
export type Attempt = {
  readonly id: string;
  readonly cpoId: string;
  readonly attemptedAt: Date;
  readonly requestId: string;
  readonly payloadProtocol: string;
  readonly uid: string | null;
  /** `paired`, or the type of the problem that it was answered with. */
  readonly outcome: string;
  readonly detail: string | null;
  /** Why a code was incorrect: `unknown`, `expired`, `cancelled`, `used` or `other-cpo`; for operators alone. */
  readonly reason: string | null;
};

/** Whether an attempt's uid is still to be erased, because the user of that station was forgotten. */
const FORGOTTEN = `exists (select from erasures e where e.station_uid = lower(a.uid collate "C"))`;

const COLUMNS = `a.id, a.cpo_id as "cpoId", a.attempted_at as "attemptedAt", a.request_id as "requestId",
  a.payload_protocol as "payloadProtocol", a.outcome, a.reason,
  case when not ${FORGOTTEN} then a.uid end as uid, case when not ${FORGOTTEN} then a.detail end as detail`;

/** The HTTP status that an attempt was answered with. */
export function statusOf({ outcome }: Attempt): number {
  return outcome === 'paired' ? 200 : problems[outcome as ProblemType][0];
}

/** A CPO's attempts, the latest first, from before an id (a UUIDv7, so ids are in the order of time). */
export function listAttempts(db: Database, cpoId: string, before: string, limit: number): Promise<Attempt[]> {
  return rows(db, `select ${COLUMNS} from attempts a where cpo_id = $1 and id < $2 order by id desc limit $3`, [
    cpoId,
    before,
    limit,
  ]);
}

/** For each CPO its latest, by the primary key; of those the latest. */
const LATEST = `
select ${COLUMNS} from cpos c left join lateral (
  select * from attempts where cpo_id = c.id order by id desc limit $2
) a on true
where $1::uuid is null or c.id = $1
order by a.id desc nulls last limit $2`;

/** The attempts of one CPO or of all, the latest first. */
export async function latestAttempts(db: Database, cpoId: string | undefined, limit: number): Promise<Attempt[]> {
  const found = await rows<Attempt | { id: null }>(db, LATEST, [cpoId ?? null, limit]);
  return found.filter((attempt): attempt is Attempt => attempt.id !== null);
}
