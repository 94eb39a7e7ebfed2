import type { EntityManager } from 'typeorm';
import { validate as isUuid } from 'uuid';
import { type Audited, audited, auditParameters } from '../audit/audit';
import { type Origin, writeTraceparent } from '../contract/trace-context';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';

/** A station that a CPO has to know to be unpaired. */
export type Unpaired = { readonly cpoId: string; readonly payloadProtocol: string; readonly uid: string };

/** An unpair that a CPO has to be notified of. */
export type Notification = Unpaired & { readonly pairingId: string };

/** Notified when something has become due. */
export const OUTBOX_CHANNEL = 'scsp_outbox';

/** Of CPOs that can be called. The notification of the channel leaves with the commit. */
const ENQUEUE = `
with enqueued as (
  insert into outbox (pairing_id, cpo_id, payload_protocol, uid, request_id, traceparent)
  select n."pairingId", n."cpoId", n."payloadProtocol", n.uid, $2, $3
  from jsonb_to_recordset($1::jsonb) as n ("pairingId" uuid, "cpoId" uuid, "payloadProtocol" text, uid text)
  join cpos c on c.id = n."cpoId" and c.base_url is not null
  returning id
)
select pg_notify('${OUTBOX_CHANNEL}', '') from enqueued limit 1`;

/** Has CPOs notified, from inside the transaction that ends the pairings: both are committed, or neither. */
export async function enqueue(
  tx: EntityManager,
  notifications: readonly Notification[],
  origin?: Origin,
): Promise<void> {
  if (notifications.length > 0) await rows(tx, ENQUEUE, [JSON.stringify(notifications), ...columnsOf(origin)]);
}

const ENQUEUE_UNKEPT = `
with enqueued as (
  insert into outbox (cpo_id, payload_protocol, uid, request_id, traceparent, next_attempt_at)
  select c.id, $4, $5, $1, $2, now() + make_interval(secs => $6)
  from cpos c
  where c.id = $3 and c.base_url is not null and not exists (
    select from pairings p
    where p.station_uid = lower($5::text collate "C") collate "default" and p.ended_at is null and p.cpo_id = c.id)
  returning id
)
select pg_notify('${OUTBOX_CHANNEL}', '') from enqueued`;

/**
 * Has a CPO notified of the end of a pairing that it believes in and that was not kept, unless the uid is paired there.
 * @param delaySeconds where a pairing may still be committed by a statement whose answer was lost
 */
export async function enqueueUnkept(
  db: Database,
  { cpoId, payloadProtocol, uid }: Unpaired,
  origin: Origin,
  delaySeconds: number,
): Promise<void> {
  await rows(db, ENQUEUE_UNKEPT, [...columnsOf(origin), cpoId, payloadProtocol, uid, delaySeconds]);
}

const columnsOf = (origin: Origin | undefined) => [
  origin?.requestId ?? null,
  origin === undefined ? null : writeTraceparent(origin.trace),
];

const ERASE_GIVEN_UP = `
with erased as (
  update outbox o set uid = null from pairings p
  where o.gave_up_at is not null and o.uid is not null and p.id = o.pairing_id and p.user_id is null
  returning 1
)
select count(*) from erased`;

/**
 * Erases the uids of given up notifications whose user is not known any more; what is still to be delivered needs its
 * uid until then. To be called after the pairings of a user have lost their user.
 */
export async function eraseGivenUp(tx: EntityManager): Promise<void> {
  await rows(tx, ERASE_GIVEN_UP);
}

export type OutboxEntry = Omit<Unpaired, 'uid'> & {
  readonly id: string;
  /** Null where only the CPO believes that there was a pairing. */
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

/** What CPOs have not been notified of yet, the oldest first; what was given up stays until it is retried or dropped. */
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

/** A lease of a call in flight stays, so that its CPO is not called more often at a time than it should be. */
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
 * Notifies again now, for seven more days.
 * @throws OperatorError when nothing waits under that id, or the uid was erased with its user
 */
export async function retryNotification(ctx: Audited, id: string): Promise<{ id: string }> {
  const [found] = isUuid(id)
    ? await rows<{ id: string; erased: boolean }>(ctx.db, RETRY, [...auditParameters(ctx), id])
    : [];
  if (found === undefined) throw unknown(id);
  if (found.erased)
    throw new OperatorError(`the uid of ${id} was erased, so its CPO cannot be notified: scsp outbox drop ${id}`);
  return { id };
}

const DROP = `
with changed as (
  delete from outbox where id = $3 returning id, cpo_id
), ${audited('outbox.drop', CPO)}
select id from changed`;

/**
 * Removes a notification; its CPO will not be notified.
 * @throws OperatorError when nothing waits under that id
 */
export async function dropNotification(ctx: Audited, id: string): Promise<{ id: string }> {
  const [dropped] = isUuid(id) ? await rows<{ id: string }>(ctx.db, DROP, [...auditParameters(ctx), id]) : [];
  if (dropped === undefined) throw unknown(id);
  return dropped;
}

const unknown = (id: string) => new OperatorError(`nothing in the outbox has the id ${id}`);
