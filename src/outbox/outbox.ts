import type { EntityManager } from 'typeorm';
import { validate as isUuid } from 'uuid';
import { type Audited, audited, trailOf } from '../db/audit';
import { type Database, rows } from '../db/database';

/** What a CPO has to be told: that this pairing has ended. */
export type Telling = {
  readonly pairingId: string;
  readonly cpoId: string;
  readonly payloadProtocol: string;
  readonly uid: string;
};

export const TELL_CPO = 'tell_cpo';

/** Tellings of CPOs that can be called; the job is the wake-up, the row is the truth. */
const ENQUEUE = `
with told as (
  insert into outbox (pairing_id, cpo_id, payload_protocol, uid)
  select t."pairingId", t."cpoId", t."payloadProtocol", t.uid
  from jsonb_to_recordset($1::jsonb) as t ("pairingId" uuid, "cpoId" uuid, "payloadProtocol" text, uid text)
  join cpos c on c.id = t."cpoId" and c.base_url is not null
  returning pairing_id
)
select graphile_worker.add_job('${TELL_CPO}', json_build_object('pairingId', pairing_id), job_key := pairing_id::text)
from told`;

/** Has CPOs told, from inside the transaction that ends the pairings: both are committed, or neither. */
export async function enqueue(tx: EntityManager, tellings: readonly Telling[]): Promise<void> {
  if (tellings.length > 0) await rows(tx, ENQUEUE, [JSON.stringify(tellings)]);
}

export type OutboxEntry = Telling & {
  readonly cpoName: string;
  readonly createdAt: Date;
  readonly attempts: number;
  readonly nextAttemptAt: Date;
  readonly lastError: string | null;
  readonly gaveUpAt: Date | null;
};

/** What CPOs have not been told yet, the oldest first; given up ones stay until retried. */
export function listOutbox(db: Database): Promise<OutboxEntry[]> {
  return rows(
    db,
    `select o.pairing_id as "pairingId", o.cpo_id as "cpoId", c.name as "cpoName", o.uid,
       o.payload_protocol as "payloadProtocol", o.created_at as "createdAt", o.attempts,
       o.next_attempt_at as "nextAttemptAt", o.last_error as "lastError", o.gave_up_at as "gaveUpAt"
     from outbox o join cpos c on c.id = o.cpo_id order by o.created_at, o.pairing_id`,
  );
}

const RETRY = `
with changed as (
  update outbox set gave_up_at = null, attempts = 0, created_at = now(), next_attempt_at = now()
  where pairing_id = $3 returning pairing_id as id, cpo_id
), ${audited('outbox.retry', `jsonb_build_object('cpo_id', cpo_id)`)}
select id as "pairingId", graphile_worker.add_job('${TELL_CPO}',
  json_build_object('pairingId', id), job_key := id::text) is not null as waking
from changed`;

/**
 * Tries to tell again now, with seven more days if it had been given up.
 * @throws RangeError when nothing waits under that id
 */
export async function retryTelling(ctx: Audited, pairingId: string): Promise<{ pairingId: string }> {
  const [retried] = isUuid(pairingId)
    ? await rows<{ pairingId: string }>(ctx.db, RETRY, [...trailOf(ctx), pairingId])
    : [];
  if (retried === undefined) throw new RangeError(`nothing waits to be told under the id ${pairingId}`);
  return { pairingId: retried.pairingId };
}
