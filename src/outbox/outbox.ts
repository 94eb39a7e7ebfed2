import type { EntityManager } from 'typeorm';
import { validate as isUuid } from 'uuid';
import { type Audited, audited, auditParameters } from '../audit/audit';
import { type Origin, storedTrace } from '../contract/trace-context';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import { stationKeysSql } from '../stations/station';

/** A station that is no longer paired, for the notification of its CPO. */
export type Unpaired = { readonly cpoId: string; readonly payloadProtocol: string; readonly uid: string };

/** The end of a pairing that a CPO must be notified of. */
export type Notification = Unpaired & { readonly pairingId: string };

/** The channel that is notified when a notification becomes due. */
export const OUTBOX_CHANNEL = 'scsp_outbox';

/** Skips CPOs without a base URL. PostgreSQL sends the notification of the channel on commit. */
const ENQUEUE = `
with enqueued as (
  insert into outbox (pairing_id, cpo_id, payload_protocol, uid, request_id, traceparent)
  select n."pairingId", n."cpoId", n."payloadProtocol", n.uid, $2, $3
  from jsonb_to_recordset($1::jsonb) as n ("pairingId" uuid, "cpoId" uuid, "payloadProtocol" text, uid text)
  join cpos c on c.id = n."cpoId" and c.base_url is not null
  returning id
)
select pg_notify('${OUTBOX_CHANNEL}', '') from enqueued limit 1`;

/** Enqueues notifications in the transaction that ends the pairings, so that both are committed or neither. */
export async function enqueue(
  tx: EntityManager,
  notifications: readonly Notification[],
  origin?: Origin,
): Promise<void> {
  if (notifications.length > 0) await rows(tx, ENQUEUE, [JSON.stringify(notifications), ...columnsOf(origin)]);
}

const ENQUEUE_UNPAIRED = `
with enqueued as (
  insert into outbox (cpo_id, payload_protocol, uid, request_id, traceparent, next_attempt_at)
  select c.id, $4, $5, $1, $2, now() + make_interval(secs => $6)
  from cpos c
  where c.id = $3 and c.base_url is not null and not exists (
    select from pairings p
    where p.station_uid = any (${stationKeysSql('c.id', '$5::text')}) and p.ended_at is null and p.cpo_id = c.id)
  returning id
)
select pg_notify('${OUTBOX_CHANNEL}', '') from enqueued`;

/**
 * Enqueues the notification of a CPO that considers a station paired although no pairing was stored. Does nothing if the uid is
 * paired with that CPO.
 * @param delaySeconds how long a statement whose response was lost may still commit the pairing
 */
export async function enqueueUnpaired(
  db: Pick<Database, 'query'>,
  { cpoId, payloadProtocol, uid }: Unpaired,
  origin: Origin,
  delaySeconds: number,
): Promise<void> {
  await rows(db, ENQUEUE_UNPAIRED, [...columnsOf(origin), cpoId, payloadProtocol, uid, delaySeconds]);
}

const columnsOf = (origin: Origin | undefined) => [origin?.requestId ?? null, storedTrace(origin)];

const ERASE_DEAD_LETTERED = `
with erased as (
  update outbox o set uid = null
  where o.pairing_id = any ($1) and o.gave_up_at is not null and o.uid is not null
  returning 1
)
select count(*) from erased`;

/**
 * Erases the uids of the dead-lettered notifications of pairings whose user was erased. Pending notifications keep their uid until
 * they are delivered.
 */
export async function eraseDeadLettered(db: Pick<Database, 'query'>, pairingIds: readonly string[]): Promise<void> {
  await rows(db, ERASE_DEAD_LETTERED, [pairingIds]);
}

export type OutboxEntry = Omit<Unpaired, 'uid'> & {
  readonly id: string;
  /** Null if no pairing was stored here. */
  readonly pairingId: string | null;
  readonly cpoName: string;
  readonly uid: string | null;
  readonly createdAt: Date;
  readonly attempts: number;
  readonly nextAttemptAt: Date;
  readonly lastError: string | null;
  readonly gaveUpAt: Date | null;
  readonly requestId: string | null;
};

/** Returns undelivered notifications, the oldest first. Dead-lettered ones stay until an operator or retention removes them. */
export function listOutbox(db: Database): Promise<OutboxEntry[]> {
  return rows(
    db,
    `select o.id, o.pairing_id as "pairingId", o.cpo_id as "cpoId", c.name as "cpoName", o.uid,
       o.payload_protocol as "payloadProtocol", o.created_at as "createdAt", o.attempts,
       o.next_attempt_at as "nextAttemptAt", o.last_error as "lastError", o.gave_up_at as "gaveUpAt",
       o.request_id as "requestId"
     from outbox o join cpos c on c.id = o.cpo_id order by o.created_at, o.id`,
  );
}

const CPO = `jsonb_build_object('cpo_id', cpo_id)`;

/** Keeps the lease of a call in flight, so that the limit on concurrent calls to the CPO holds. */
const RETRY = `
with found as (
  select id, uid from outbox where id = $3
), changed as (
  update outbox o set gave_up_at = null, attempts = 0, created_at = now(),
    next_attempt_at = greatest(now(), o.leased_until)
  from found where o.id = found.id and found.uid is not null
  returning o.id, o.cpo_id
), ${audited('outbox.retry', CPO)}
select id, uid is null as erased, pg_notify('${OUTBOX_CHANNEL}', '') from found`;

/**
 * Retries a notification at once and for seven more days.
 * @throws OperatorError for an unknown id, or when the uid was erased with its user
 */
export async function retryNotification(ctx: Audited, id: string): Promise<{ id: string }> {
  const [found] = isUuid(id)
    ? await rows<{ id: string; erased: boolean }>(ctx.db, RETRY, [...auditParameters(ctx), id])
    : [];
  if (found === undefined) throw unknown(id);
  if (found.erased)
    throw new OperatorError(
      `the uid of ${id} was erased, so that its CPO cannot be notified: run scsp outbox drop ${id}`,
    );
  return { id };
}

const DROP = `
with changed as (
  delete from outbox where id = $3 returning id, cpo_id
), ${audited('outbox.drop', CPO)}
select id from changed`;

/**
 * Deletes a notification. Its CPO will not be notified.
 * @throws OperatorError for an unknown id
 */
export async function dropNotification(ctx: Audited, id: string): Promise<{ id: string }> {
  const [dropped] = isUuid(id) ? await rows<{ id: string }>(ctx.db, DROP, [...auditParameters(ctx), id]) : [];
  if (dropped === undefined) throw unknown(id);
  return dropped;
}

const unknown = (id: string) => new OperatorError(`no notification in the outbox has the id ${id}`);
