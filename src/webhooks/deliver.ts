import type { EntityManager } from 'typeorm';
import type { Context } from '../context';
import { newSpan, type Origin } from '../contract/trace-context';
import { Batcher } from '../db/batcher';
import { ADVISORY_LOCKS } from '../db/locks';
import { rows, transaction } from '../db/query';
import { DeliveryEngine } from '../delivery/engine';
import { EVENT_COLUMNS, EVENT_JOINS, type StoredEvent, writeEvent } from '../events/events';
import { Circuits } from '../outbound/circuit';
import { Problem } from '../problems';
import { WEBHOOKS_CHANNEL } from './channel';
import { DEADLINE_MS, type WebhookClient, type WebhookOutcome } from './client';
import { putBack, recordDelivered, recordFailed } from './outcomes';
import { openSecrets, type StoredSecret, validSecrets } from './secrets';

/** The maximum number of concurrent calls to one endpoint, of all replicas together. */
const CALLS_PER_ENDPOINT = 10;
/** An endpoint with so many failures since its last success gets one call at a time. */
const FAILURES_TO_SLOW_DOWN = 5;
/** Longer than a call can take. When a process dies during a call, the next attempt starts after this time. */
const LEASE_SECONDS = 30;
/** An event that was read longer ago is read again before it is sent, because its user may have been erased. */
const FRESH_MS = 200;
/** How often an event is read again before its delivery is put back, because the database is slow. */
const READS = 5;
const READ_BATCH = 100;

export const ENGINE_LIMITS = { calls: 512, writes: 4, pollMs: 1_000, finishMs: 2_000, stopMs: 5_000 };

/**
 * Leases due deliveries: the oldest of each endpoint, up to its number of concurrent calls. Endpoints with fewer calls in flight
 * come first.
 *
 * | step     | reads                                                                                    |
 * |----------|------------------------------------------------------------------------------------------|
 * | target   | each endpoint with pending rows, one step in `webhook_deliveries_due_idx` for each       |
 * | endpoint | those that are enabled, with their leases                                                |
 * | due      | per endpoint: rows from the start of its range                                           |
 * | claimed  | the rows, by their keys                                                                  |
 *
 * It sees the leases of other replicas: an earlier statement took the lock `webhookClaim`, so this snapshot is newer.
 */
const CLAIM = `
with recursive target as (
  (select endpoint_id from webhook_deliveries where status = 'pending' order by endpoint_id limit 1)
  union all
  select (select d.endpoint_id from webhook_deliveries d
    where d.status = 'pending' and d.endpoint_id > t.endpoint_id order by d.endpoint_id limit 1)
  from target t where t.endpoint_id is not null
), endpoint as (
  select w.id, w.url, l.leased,
    greatest(case when w.failures >= ${FAILURES_TO_SLOW_DOWN} then 1 else ${CALLS_PER_ENDPOINT} end - l.leased, 0) as free
  from target t
  join webhook_endpoints w on w.id = t.endpoint_id
  cross join lateral (
    select count(*)::int as leased from webhook_deliveries where endpoint_id = w.id and leased_until > now()
  ) l
  where w.status = 'enabled' and w.deleted_at is null and w.id <> all ($2::uuid[])
), due as (
  select e.id, e.url, d.position
  from endpoint e
  cross join lateral (
    select position, next_attempt_at, row_number() over (order by next_attempt_at) as nth
    from (
      select position, next_attempt_at from webhook_deliveries
      where endpoint_id = e.id and status = 'pending' and next_attempt_at <= now()
      order by next_attempt_at limit e.free
      for update skip locked
    ) first
  ) d
  order by e.leased + d.nth, d.next_attempt_at
  limit $1
), claimed as (
  update webhook_deliveries d
  set attempts = attempts + 1, next_attempt_at = now() + lease.time, leased_until = now() + lease.time
  from due, (select make_interval(secs => ${LEASE_SECONDS}) as time) lease
  where d.endpoint_id = due.id and d.position = due.position
  returning d.endpoint_id, d.position, d.attempts, d.leased_until, due.url
)
select d.endpoint_id as "targetId", d.attempts as attempt, d.leased_until as "leasedUntil", d.url,
  ${validSecrets('d.endpoint_id')} as secrets, ${EVENT_COLUMNS}
from claimed d join events e on e.position = d.position ${EVENT_JOINS}`;

const READ_AGAIN = `
select ${EVENT_COLUMNS}
from unnest($1::uuid[], $2::bigint[]) with ordinality asked (endpoint_id, position, nth)
left join webhook_endpoints w on w.id = asked.endpoint_id and w.status = 'enabled' and w.deleted_at is null
left join events e on e.position = asked.position and w.id is not null ${EVENT_JOINS}
order by asked.nth`;

type Claimed = StoredEvent & {
  readonly targetId: string;
  readonly attempt: number;
  readonly leasedUntil: Date;
  readonly url: string;
  readonly secrets: readonly StoredSecret[] | null;
};

/** A claimed delivery. `readAt` is the time by `performance.now()` before the event was read. */
type Delivery = Claimed & { readonly origin: Origin; readonly readAt: number };

/** An event that was read again; undefined if the endpoint was disabled or deleted meanwhile. */
type ReadAgain = { readonly event: StoredEvent | undefined; readonly readAt: number };
type Reader = Batcher<Delivery, ReadAgain>;

/** Thrown when the endpoint did not accept an event. */
class NotDelivered extends Error {
  constructor(readonly outcome: WebhookOutcome) {
    super(outcome.error);
  }
}

/** Starts the delivery of events to webhook endpoints, at least once each (contract, section 9). */
export function startWebhookDelivery(ctx: Context, client: WebhookClient): { stop(): Promise<void> } {
  const circuits = new Circuits({
    circuitOpened: (id) => ctx.metrics.webhookCircuitOpened(id),
    circuitClosed: (id) => ctx.metrics.webhookCircuitClosed(id),
  });
  ctx.metrics.countWebhookCircuits(() => circuits.open().length);
  // One statement at a time: many deliveries that are claimed together would take every connection of the pool.
  const reader: Reader = new Batcher({
    work: (batch) => readAgain(ctx, batch),
    maxBatchSize: READ_BATCH,
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
  const engine = new DeliveryEngine<Delivery, WebhookOutcome>(
    'webhooks',
    ctx.log,
    {
      claim: (count) => claim(ctx, count, circuits.open()),
      async call(delivery, signal) {
        if (signal.aborted) throw new Problem('unavailable');
        const secrets = openSecrets(ctx.keys, delivery.secrets ?? []);
        const leave = circuits.enter(delivery.targetId, delivery.position);
        let result: WebhookOutcome | undefined;
        try {
          const { url, id, origin } = delivery;
          result = await client.send({ url, id, secrets, origin, compose: () => compose(reader, delivery) }, signal);
        } finally {
          leave(result?.call ?? 'unknown');
        }
        if (!result.delivered) throw new NotDelivered(result);
        return result;
      },
      delivered: (delivery, outcome) => recordDelivered(ctx, delivery, outcome),
      failed: (delivery, error) =>
        error instanceof NotDelivered ? recordFailed(ctx, delivery, error.outcome) : putBack(ctx, delivery, error),
    },
    ENGINE_LIMITS,
  );
  const unsubscribe = ctx.listener.on(WEBHOOKS_CHANNEL, () => engine.wake());
  engine.start();
  return {
    stop() {
      unsubscribe();
      return engine.stop();
    },
  };
}

function claim(ctx: Context, count: number, excludedIds: readonly string[]): Promise<Delivery[]> {
  const work = async (tx: EntityManager) => {
    // Misestimates of empty tables would make PostgreSQL compile the statement, for seconds.
    await rows(tx, `select pg_advisory_xact_lock($1), set_config('jit', 'off', true)`, [ADVISORY_LOCKS.webhookClaim]);
    const readAt = performance.now();
    const claimed = await rows<Claimed>(tx, CLAIM, [count, excludedIds]);
    return claimed.map((one) => ({ ...one, readAt, origin: newOrigin(ctx) }));
  };
  return transaction(ctx.db, work, 'READ COMMITTED');
}

const newOrigin = ({ random }: Context): Origin => ({
  requestId: random.requestId(),
  trace: newSpan(random, undefined),
});

async function readAgain(ctx: Context, batch: readonly Delivery[]): Promise<ReadAgain[]> {
  const readAt = performance.now();
  const asked = [batch.map(({ targetId }) => targetId), batch.map(({ position }) => position)];
  const found = await rows<StoredEvent | { id: null }>(ctx.db, READ_AGAIN, asked);
  return found.map((event) => ({ event: event.id === null ? undefined : event, readAt }));
}

/**
 * Returns the body of a delivery from data that is at most 200 ms old.
 * @throws Problem `unavailable` if the endpoint was disabled or deleted meanwhile, or the database is slow
 */
async function compose(reader: Reader, delivery: Delivery): Promise<string> {
  let read: ReadAgain = { event: delivery, readAt: delivery.readAt };
  for (let reads = 0; reads < READS && read.event !== undefined; reads++) {
    if (performance.now() - read.readAt <= FRESH_MS) return JSON.stringify(writeEvent(read.event));
    const by = performance.now() + DEADLINE_MS;
    read = await reader.add(delivery.targetId, delivery, { startBy: by, answerBy: by });
  }
  throw new Problem('unavailable');
}
