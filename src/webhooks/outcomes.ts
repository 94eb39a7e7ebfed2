import type { Context } from '../context';
import { type Origin, originFields } from '../contract/trace-context';
import { atMost } from '../delivery/at-most';
import type { LogFields } from '../log';
import { Problem } from '../problems';
import { Answering } from './answering';
import type { WebhookOutcome } from './client';
import { disableByService } from './disable';
import { pauseSeconds } from './pauses';
import { createRecordOutcome, type RecordOutcome } from './record-outcomes';

/** How long a delivery waits that cannot be signed. */
const UNSIGNED_SECONDS = 60;
/** The status of a response that disables the endpoint at once. */
const GONE = 410;
/** The maximum number of endpoints that are disabled at the same time, each on a connection of the pool. */
const DISABLED_AT_ONCE = 2;

/** A leased delivery; `targetId` is its endpoint, `url` the endpoint's URL when it was leased, `id` the event. */
export type Leased = {
  readonly targetId: string;
  readonly url: string;
  readonly position: string;
  readonly id: string;
  readonly attempt: number;
  readonly leasedUntil: Date;
  readonly origin: Origin;
};

/** What came of a call, and what its event is about, for the log. */
export type Sent = WebhookOutcome & { readonly about?: Pick<LogFields, 'cpo_id' | 'pairing_id' | 'code_id'> };

/** Returns what identifies a delivery in the log. */
export const deliveryFields = ({ targetId, id, origin }: Leased) => ({
  endpoint_id: targetId,
  event_id: id,
  ...originFields(origin),
});

const leaseOf = ({ targetId, url, position, leasedUntil, attempt }: Leased) => ({
  endpointId: targetId,
  url,
  position,
  leasedUntil,
  attempt,
});

const callOf = ({ targetId, id, origin }: Leased, { about, status, durationMs }: Sent) => ({
  endpointId: targetId,
  eventId: id,
  origin,
  about,
  status,
  durationMs,
});

/** A call that was accepted. `publishedAt`, by `performance.now()`, is undefined for an event that is delivered again. */
export type Delivered = Sent & { readonly publishedAt: number | undefined };

/** Records what came of deliveries. */
export type Outcomes = {
  /** Records that an endpoint accepted an event. */
  delivered(delivery: Leased, outcome: Delivered): Promise<void>;
  /** Records a failed attempt and plans the next one. A 410 response disables the endpoint. */
  failed(delivery: Leased, outcome: Sent): Promise<void>;
  /** Releases the lease of a delivery that was not sent: the service stops, the circuit is open, or a secret cannot be decrypted. */
  putBack(delivery: Leased, error: unknown): Promise<void>;
};

export function createOutcomes(ctx: Context, record: RecordOutcome = createRecordOutcome(ctx)): Outcomes {
  const disabling = atMost(DISABLED_AT_ONCE);
  const answering = new Answering();
  return {
    async delivered(delivery, outcome) {
      const { status, durationMs, publishedAt } = outcome;
      const answersSince = answering.accepted(delivery.targetId);
      // A repeated attempt says when the endpoint answered again, not how soon it got the event.
      const isFirst = publishedAt !== undefined && delivery.attempt === 1;
      const delaySeconds = isFirst ? (performance.now() - Math.max(publishedAt, answersSince)) / 1_000 : undefined;
      await record({ ...leaseOf(delivery), result: 'delivered', status, durationMs });
      ctx.metrics.webhookDelivered(callOf(delivery, outcome), delaySeconds);
    },
    async failed(delivery, outcome) {
      answering.failed(delivery.targetId);
      const pause = pauseSeconds(ctx.random, delivery.attempt, outcome.retryAfter);
      const { status, durationMs, error } = outcome;
      const { failures } = await record({ ...leaseOf(delivery), result: 'failed', status, durationMs, error, pause });
      ctx.metrics.webhookNotDelivered(callOf(delivery, outcome), error ?? '', {
        failures,
        gaveUp: pause === undefined,
      });
      if (status === GONE) await disabling(() => disableByService(ctx, delivery.targetId, 'gone', delivery));
    },
    async putBack(delivery, error) {
      const unavailable = error instanceof Problem && error.type === 'unavailable' ? error : undefined;
      if (unavailable === undefined)
        ctx.log.error('a webhook event cannot be sent', { ...deliveryFields(delivery), reason: String(error) });
      const pause = unavailable === undefined ? UNSIGNED_SECONDS : Number(unavailable.headers['Retry-After'] ?? 1);
      await record({ ...leaseOf(delivery), result: 'put-back', pause });
    },
  };
}
