import type { Context } from '../context';
import { newSpan, type Origin, readTraceparent } from '../contract/trace-context';
import { Batcher } from '../db/batcher';
import type { Database } from '../db/pool';
import { prepared, preparedRows, rows, transaction } from '../db/query';
import { DeliveryEngine } from '../delivery/engine';
import { EVENT_COLUMNS, EVENT_JOINS, type StoredEvent, writeEvent } from '../events/events';
import { Circuits } from '../outbound/circuit';
import { Problem } from '../problems';
import { WEBHOOKS_CHANNEL } from './channel';
import { DEADLINE_MS, type WebhookClient, type WebhookOutcome } from './client';
import { createOutcomes, type Delivered, deliveryFields, type Leased, type Sent } from './outcomes';
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
/** How long a read waits for those of the other deliveries that were claimed with it. */
const GATHER_MS = 1;

export const ENGINE_LIMITS = { calls: 512, pollMs: 1_000, finishMs: 2_000, stopMs: 5_000 };

const CLAIM = `
select endpoint_id as "targetId", url, position, attempts as attempt, leased_until as "leasedUntil", event_id as id,
  traceparent
from scsp_claim_deliveries_v1($1, $2, ${CALLS_PER_ENDPOINT}, ${FAILURES_TO_SLOW_DOWN}, ${LEASE_SECONDS})`;

/**
 * Reads events and the valid secrets of their endpoints, unless these were given another URL, disabled or deleted meanwhile. An event
 * is delivered again if there was a first attempt before, or if it was published while the endpoint was disabled or before it was created.
 */
const READ = prepared(
  'read_webhook_events',
  `select ${validSecrets('w.id')} as secrets, ${EVENT_COLUMNS},
     extract(epoch from clock_timestamp() - e.published_at)::float8 * 1000 as "ageMs",
     d.attempts = 1 and d.last_duration_ms is not null or w.created_at > e.published_at or exists (
       select from webhook_gaps g
       where g.endpoint_id = w.id and g.after_position < e.position and g.until_position >= e.position) as "deliveredAgain"
   from unnest($1::uuid[], $2::bigint[], $3::text[]) with ordinality asked (endpoint_id, position, url, nth)
   left join webhook_endpoints w
     on w.id = asked.endpoint_id and w.url = asked.url and w.status = 'enabled' and w.deleted_at is null
   left join events e on e.position = asked.position and w.id is not null
   left join webhook_deliveries d on d.endpoint_id = w.id and d.position = e.position ${EVENT_JOINS}
   order by asked.nth`,
);

type Claimed = Omit<Leased, 'origin'> & { readonly traceparent: string | null };

/** An event to be sent. Times are by `performance.now()`: `readAt` is before it was read. */
type Read = {
  readonly event: StoredEvent;
  readonly secrets: readonly StoredSecret[];
  readonly readAt: number;
  /** Undefined for an event that is delivered again. */
  readonly publishedAt: number | undefined;
};
type Reader = (delivery: Leased) => Promise<Read>;

/** Thrown when the endpoint did not accept an event. */
class NotDelivered extends Error {
  constructor(readonly outcome: Sent) {
    super(outcome.error);
  }
}

/** The delivery of this process. */
export type WebhookDelivery = {
  /** Returns how many endpoints are not called at present, because consecutive calls failed. */
  openCircuits(): number;
  stop(): Promise<void>;
};

/** Starts the delivery of events to webhook endpoints, at least once each (contract, section 9). */
export function startWebhookDelivery(ctx: Context, client: WebhookClient): WebhookDelivery {
  const circuits = new Circuits({
    circuitOpened: (id) => ctx.metrics.webhookCircuitOpened(id),
    circuitClosed: (id) => ctx.metrics.webhookCircuitClosed(id),
  });
  const openCircuits = () => circuits.open().length;
  ctx.metrics.readFrom({ webhookCircuits: openCircuits });
  const read = createReader(ctx);
  const outcomes = createOutcomes(ctx);
  const engine = new DeliveryEngine<Leased, Delivered>(
    'webhooks',
    ctx.log,
    {
      claim: (count) => claim(ctx, count, circuits.open()),
      async call(delivery, signal) {
        if (signal.aborted) throw new Problem('unavailable');
        const first = await read(delivery);
        const leave = circuits.enter(delivery.targetId, delivery.position);
        let result: WebhookOutcome | undefined;
        try {
          const { url, id, origin } = delivery;
          const compose = async () => {
            const { event, secrets } = await fresh(read, delivery, first);
            return { body: JSON.stringify(writeEvent(event)), secrets: openSecrets(ctx.keys, secrets) };
          };
          result = await client.send({ url, id, origin, compose }, signal);
        } finally {
          leave(result?.call ?? 'unknown');
        }
        const sent = { ...result, about: aboutOf(first.event) };
        if (!sent.delivered) throw new NotDelivered(sent);
        return { ...sent, publishedAt: first.publishedAt };
      },
      delivered: outcomes.delivered,
      failed: (delivery, error) =>
        error instanceof NotDelivered ? outcomes.failed(delivery, error.outcome) : outcomes.putBack(delivery, error),
      logFields: deliveryFields,
    },
    ENGINE_LIMITS,
  );
  const unsubscribe = ctx.listener.on(WEBHOOKS_CHANNEL, () => engine.wake());
  engine.start();
  return {
    openCircuits,
    stop() {
      unsubscribe();
      return engine.stop();
    },
  };
}

const aboutOf = ({ cpoId, pairingId, codeId }: StoredEvent) => ({
  cpo_id: cpoId ?? undefined,
  pairing_id: pairingId ?? undefined,
  code_id: codeId ?? undefined,
});

async function claim(ctx: Context, count: number, excludedIds: readonly string[]): Promise<Leased[]> {
  const work = (tx: Pick<Database, 'query'>) => rows<Claimed>(tx, CLAIM, [count, excludedIds]);
  const claimed = await transaction(ctx.db, work, 'READ COMMITTED');
  return claimed.map(({ traceparent, ...one }) => ({ ...one, origin: originOf(ctx, traceparent) }));
}

/** Returns the origin of an attempt: a request id of its own, and the trace of what caused the event. */
const originOf = ({ random }: Context, traceparent: string | null): Origin => ({
  requestId: random.requestId(),
  trace: newSpan(random, readTraceparent(traceparent)),
});

/**
 * Creates the function that reads the event of a delivery, one statement at a time for all that are claimed together.
 * @returns a function that throws Problem `unavailable` if the endpoint was changed, disabled or deleted meanwhile, or the database is slow
 */
function createReader({ db }: Pick<Context, 'db'>): Reader {
  type Age = { readonly ageMs: number; readonly deliveredAgain: boolean };
  type Found = ((StoredEvent & Age) | { readonly id: null }) & { readonly secrets: readonly StoredSecret[] | null };
  const reader = new Batcher<Leased, Read | undefined>({
    async work(batch) {
      const readAt = performance.now();
      const asked = [
        batch.map(({ targetId }) => targetId),
        batch.map(({ position }) => position),
        batch.map(({ url }) => url),
      ];
      const found = await preparedRows<Found>(db, READ, asked);
      return found.map(({ secrets, ...event }) => {
        if (event.id === null) return undefined;
        const publishedAt = event.deliveredAgain ? undefined : readAt - event.ageMs;
        return { event, secrets: secrets ?? [], readAt, publishedAt };
      });
    },
    maxBatchSize: READ_BATCH,
    gatherMs: GATHER_MS,
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
  return async (delivery) => {
    const by = performance.now() + DEADLINE_MS;
    const read = await reader.add(delivery.targetId, delivery, { startBy: by, answerBy: by });
    if (read === undefined) throw new Problem('unavailable');
    return read;
  };
}

/**
 * Returns what was read of a delivery, at most 200 ms ago.
 * @throws Problem `unavailable` if the endpoint was changed, disabled or deleted meanwhile, or the database is slow
 */
async function fresh(read: Reader, delivery: Leased, first: Read): Promise<Read> {
  let latest = first;
  for (let reads = 0; performance.now() - latest.readAt > FRESH_MS; reads++) {
    if (reads === READS) throw new Problem('unavailable');
    latest = await read(delivery);
  }
  return latest;
}
