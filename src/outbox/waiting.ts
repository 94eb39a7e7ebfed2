import type { Database } from '../db/pool';
import { rows } from '../db/query';

/** A notification that its CPO has not acknowledged yet. */
export type Waiting = {
  readonly payloadProtocol: string;
  /** Null if the user of the station has been forgotten. */
  readonly uid: string | null;
  readonly createdAt: Date;
  readonly attempts: number;
  readonly nextAttemptAt: Date;
};

const MAX_WAITING = 100;

/**
 * Reads `outbox_due_idx`. A notification without a pairing was made for one that only the CPO has. The pairing of a forgotten user
 * has neither user nor uid; that of a test customer in a sandbox has no user.
 */
const WAITING = `
select o.payload_protocol as "payloadProtocol", o.created_at as "createdAt", o.attempts,
  o.next_attempt_at as "nextAttemptAt",
  case when (o.pairing_id is null or p.user_id is not null or p.station_uid is not null)
    and not exists (select from erasures e where e.station_uid = lower(o.uid collate "C")) then o.uid end as uid
from (
  select * from outbox where cpo_id = $1 and gave_up_at is null order by next_attempt_at limit ${MAX_WAITING}
) o left join pairings p on p.id = o.pairing_id
order by o.next_attempt_at, o.id`;

/** Returns the notifications that wait for a CPO, the next attempt first, at most 100. */
export function listWaiting(db: Database, cpoId: string): Promise<Waiting[]> {
  return rows(db, WAITING, [cpoId]);
}
