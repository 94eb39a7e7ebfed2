import type { Context } from '../context';
import { newSpan, type Origin, originFields, readTraceparent } from '../contract/trace-context';
import { hashSubject } from '../crypto/keys';
import { ADVISORY_LOCKS } from '../db/locks';
import { rows, transaction } from '../db/query';
import { atMost } from '../delivery/at-most';
import { DeliveryEngine } from '../delivery/engine';
import { EVENTS_CHANNEL, UNPUBLISHED } from '../events/events';
import { Problem } from '../problems';
import { stationKeysSql } from '../stations/station';
import { OUTBOX_CHANNEL, type Unpaired } from './outbox';
import { settle } from './settle';

/** The maximum number of concurrent calls to one CPO, of all replicas together. */
const CALLS_PER_CPO = 2;
/** Longer than a call can take. When a process dies during a call, the next attempt starts after this time. */
const LEASE_SECONDS = 20;
const MAX_DELAY_SECONDS = 3_600;
export const GIVE_UP_DAYS = 7;
const GIVE_UP_AFTER = `interval '${GIVE_UP_DAYS} days'`;

/** The maximum duration of a stop; calls in flight may use the first part. */
export const STOP_MS = 5_000;
/** The maximum number of outcomes recorded at the same time, each on a connection of the pool. */
const WRITES = 4;
const LIMITS = { calls: 256, pollMs: 1_000, finishMs: 2_000, stopMs: STOP_MS };

/**
 * Leases due notifications: the oldest of each CPO, at most two leases for each. CPOs without a call in flight come first, so
 * that a few unresponsive CPOs do not block the others.
 *
 * | step    | reads                                                                      |
 * |---------|----------------------------------------------------------------------------|
 * | target  | each CPO with pending rows, one step in `outbox_due_idx` for each          |
 * | due     | per CPO: its leases, then at most two rows from the start of its range     |
 * | claimed | the rows, by their keys                                                    |
 *
 * It sees the leases of other replicas: an earlier statement took the lock `outboxClaim`, so this snapshot is newer.
 */
const CLAIM = `
with recursive target as (
  (select cpo_id from outbox where gave_up_at is null and cpo_id <> all ($2::uuid[]) order by cpo_id limit 1)
  union all
  select (select o.cpo_id from outbox o
    where o.gave_up_at is null and o.cpo_id > t.cpo_id and o.cpo_id <> all ($2::uuid[]) order by o.cpo_id limit 1)
  from target t where t.cpo_id is not null
), due as (
  select o.id
  from target t
  cross join lateral (
    select count(*)::int as leased from outbox where cpo_id = t.cpo_id and leased_until > now()
  ) l
  cross join lateral (
    select id, next_attempt_at, row_number() over (order by next_attempt_at) as nth
    from (
      select id, next_attempt_at from outbox
      where cpo_id = t.cpo_id and gave_up_at is null and next_attempt_at <= now()
      order by next_attempt_at limit greatest(${CALLS_PER_CPO} - l.leased, 0)
      for update skip locked
    ) first
  ) o
  order by l.leased + o.nth, o.next_attempt_at
  limit $1
), claimed as (
  update outbox o
  set attempts = attempts + 1, next_attempt_at = now() + lease.time, leased_until = now() + lease.time
  from due, (select make_interval(secs => ${LEASE_SECONDS}) as time) lease
  where o.id = due.id
  returning o.*
)
select c.id, c.attempts, c.pairing_id as "pairingId", c.cpo_id as "cpoId", c.payload_protocol as "payloadProtocol",
  c.uid, c.request_id as "requestId", c.traceparent, p.user_id as "userId",
  exists (
    select from pairings again
    where again.station_uid = any (${stationKeysSql('c.cpo_id', 'c.uid')}) and again.ended_at is null
      and again.cpo_id = c.cpo_id
  ) as "pairedAgain"
from claimed c left join pairings p on p.id = c.pairing_id`;

/**
 * Backs off exponentially from 1 s to 1 h. After 7 days the notification is dead-lettered: it stays in the list, and its uid is
 * erased unless the pairing still has its user. The share lock waits for a concurrent erasure of the user. The condition on
 * `attempts` fails when another process holds the lease.
 */
const POSTPONE = `
with known as (
  select p.id from pairings p join outbox o on o.pairing_id = p.id
  where o.id = $1 and p.user_id is not null for share of p
), postponed as (
  update outbox o set last_error = $3, leased_until = null,
    gave_up_at = case when late.is_late then now() end,
    uid = case when late.is_late and not exists (select from known) then null else o.uid end,
    next_attempt_at = now() + make_interval(secs => least(${MAX_DELAY_SECONDS}, 2 ^ least(o.attempts - 1, 20)))
  from (select id, now() > created_at + ${GIVE_UP_AFTER} as is_late from outbox where id = $1) late
  where o.id = late.id and o.attempts = $2
  returning o.gave_up_at, o.pairing_id, o.cpo_id, o.attempts, o.traceparent
), event as (
  insert into events (id, type, pairing_id, cpo_id, attempts, traceparent)
  select $4, 'cpo.notification_failed', pairing_id, cpo_id, attempts, traceparent
  from postponed where gave_up_at is not null and pairing_id is not null
  returning pg_notify('${EVENTS_CHANNEL}', '${UNPUBLISHED}')
)
select gave_up_at as "gaveUpAt", (select count(*) from event) from postponed`;

/** Releases the lease of a notification whose CPO was not called, without counting an attempt. */
const PUT_BACK = `
with put_back as (
  update outbox set attempts = attempts - 1, leased_until = null, next_attempt_at = now() + make_interval(secs => $3)
  where id = $1 and attempts = $2 returning id
)
select id from put_back`;

type Claimed = Unpaired & {
  readonly id: string;
  readonly pairingId: string | null;
  readonly attempts: number;
  /** Null if an operator ended the pairing. */
  readonly requestId: string | null;
  readonly traceparent: string | null;
  readonly userId: string | null;
  readonly pairedAgain: boolean;
};

/** A claimed notification. `user` identifies the customer for the circuit breaker; erased users count as one. */
export type Delivery = Unpaired & {
  readonly origin: Origin;
  readonly user: string;
  /** Null if no pairing was stored here. */
  readonly pairingId: string | null;
};

/** Notifies a CPO. Throws when that failed: Problem `unavailable` when the CPO was not called at all. */
export type NotifyCpo = (delivery: Delivery, signal: AbortSignal) => Promise<void>;

/** Starts the delivery of the notifications in the outbox, at least once each (contract, section 6). */
export function startDelivery(
  ctx: Context,
  notify: NotifyCpo,
  openCircuits: () => string[],
): { stop(): Promise<void> } {
  const record = atMost(WRITES);
  const engine = new DeliveryEngine<Delivery & Claimed>(
    'outbox',
    ctx.log,
    {
      claim: async (count) =>
        (await claim(ctx, count, openCircuits())).map((claimed) => ({ ...claimed, ...originOf(ctx, claimed) })),
      async call(delivery, signal) {
        if (signal.aborted) throw new Problem('unavailable');
        if (!delivery.pairedAgain) await notify(delivery, signal);
      },
      delivered: (delivery) => record(() => settle(ctx, delivery)),
      failed: (delivery, error) => record(() => postpone(ctx, delivery, error)),
      logFields: ({ pairingId, cpoId, origin }) => ({
        pairing_id: pairingId ?? undefined,
        cpo_id: cpoId,
        ...originFields(origin),
      }),
    },
    LIMITS,
  );
  const unsubscribe = ctx.listener.on(OUTBOX_CHANNEL, () => engine.wake());
  engine.start();
  return {
    stop() {
      unsubscribe();
      return engine.stop();
    },
  };
}

function claim(ctx: Context, count: number, excludedCpoIds: readonly string[]): Promise<Claimed[]> {
  const work = async (tx: Parameters<Parameters<typeof transaction>[1]>[0]) => {
    await rows(tx, 'select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.outboxClaim]);
    return rows<Claimed>(tx, CLAIM, [count, excludedCpoIds]);
  };
  return transaction(ctx.db, work, 'READ COMMITTED');
}

/** Returns the request that caused the notification. */
function originOf(ctx: Context, { requestId, traceparent, userId }: Claimed): Pick<Delivery, 'origin' | 'user'> {
  return {
    origin: {
      requestId: requestId ?? ctx.random.requestId(),
      trace: newSpan(ctx.random, readTraceparent(traceparent)),
    },
    user: userId === null ? '' : hashSubject(ctx.keys, 'user', userId).toString('hex'),
  };
}

async function postpone(
  ctx: Context,
  { id, attempts, ...delivery }: Delivery & Claimed,
  error: unknown,
): Promise<void> {
  if (error instanceof Problem && error.type === 'unavailable') {
    await rows(ctx.db, PUT_BACK, [id, attempts, Number(error.headers['Retry-After'] ?? 1)]);
    return;
  }
  const reason = error instanceof Error ? error.message : String(error);
  const [postponed] = await rows<{ gaveUpAt: Date | null }>(ctx.db, POSTPONE, [
    id,
    attempts,
    reason,
    ctx.random.uuid(),
  ]);
  ctx.metrics.cpoNotNotified(delivery, reason, postponed?.gaveUpAt != null);
}
