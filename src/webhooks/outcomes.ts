import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { rows } from '../db/query';
import { Problem } from '../problems';
import type { WebhookOutcome } from './client';
import { disableByService } from './disable';
import { pauseSeconds } from './pauses';

/** How long a delivery waits that cannot be signed. */
const UNSIGNED_SECONDS = 60;
/** How often the time of the last success is updated at most. */
const SUCCESS_SECONDS = 5;
/** The status of a response that disables the endpoint at once. */
const GONE = 410;

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

/**
 * The endpoint's row is changed first, in the same order as by a redelivery, and only when something changes: it would be a hot
 * row otherwise. An outcome of another URL, which it had before, says nothing about the endpoint. A redelivery that was requested during the call has set `attempts` to 0; the event is then sent again.
 */
const DELIVERED = `
with endpoint as (
  update webhook_endpoints set last_success_at = now(), failures = 0, failing_since = null, announced_at = null
  where id = $1 and url = $7 and (failures > 0 or failing_since is not null or last_success_at is null
    or last_success_at < now() - make_interval(secs => ${SUCCESS_SECONDS}))
  returning 1
), delivery as (
  update webhook_deliveries d
  set leased_until = null, last_status = $5, last_duration_ms = $6, last_error = null,
    status = case when d.attempts = $4 then 'delivered' else d.status end,
    next_attempt_at = case when d.attempts = $4 then d.next_attempt_at else now() end
  where d.endpoint_id = $1 and d.position = $2 and d.leased_until = $3 and (select count(*) from endpoint) >= 0
  returning 1
)
select count(*)::int as count from delivery`;

/** A delivery that was skipped meanwhile, because the endpoint was disabled, stays skipped. */
const FAILED = `
with endpoint as (
  update webhook_endpoints set failures = failures + 1, failing_since = coalesce(failing_since, now())
  where id = $1 and url = $9 and deleted_at is null
  returning failures
), delivery as (
  update webhook_deliveries d
  set leased_until = null, last_status = $5, last_duration_ms = $6, last_error = $7,
    status = case when d.attempts = $4 and d.status = 'pending' and $8::float8 is null then 'failed' else d.status end,
    next_attempt_at = case when d.attempts = $4 then now() + make_interval(secs => coalesce($8::float8, 0)) else now() end
  where d.endpoint_id = $1 and d.position = $2 and d.leased_until = $3 and (select count(*) from endpoint) >= 0
  returning 1
)
select failures from endpoint`;

/** Releases the lease of a delivery that was not sent, without counting an attempt. */
const PUT_BACK = `
with put_back as (
  update webhook_deliveries
  set attempts = greatest(attempts - 1, 0), leased_until = null, next_attempt_at = now() + make_interval(secs => $4)
  where endpoint_id = $1 and position = $2 and leased_until = $3
  returning 1
)
select count(*)::int as count from put_back`;

/** Returns the first four parameters of the statements that record an outcome. */
const leaseOf = ({ targetId, position, leasedUntil, attempt }: Leased) => [targetId, position, leasedUntil, attempt];

const callOf = ({ targetId, id, origin }: Leased, { status, durationMs }: WebhookOutcome) => ({
  endpointId: targetId,
  eventId: id,
  origin,
  status,
  durationMs,
});

/** Records that an endpoint accepted an event. */
export async function recordDelivered(ctx: Context, delivery: Leased, outcome: WebhookOutcome): Promise<void> {
  await rows(ctx.db, DELIVERED, [...leaseOf(delivery), outcome.status, outcome.durationMs, delivery.url]);
  ctx.metrics.webhookDelivered(callOf(delivery, outcome));
}

/** Records a failed attempt and plans the next one. A 410 response disables the endpoint. */
export async function recordFailed(ctx: Context, delivery: Leased, outcome: WebhookOutcome): Promise<void> {
  const pause = pauseSeconds(ctx.random, delivery.attempt, outcome.retryAfter);
  const { status, durationMs, error } = outcome;
  const values = [...leaseOf(delivery), status ?? null, durationMs, error ?? null, pause ?? null, delivery.url];
  const [endpoint] = await rows<{ failures: number }>(ctx.db, FAILED, values);
  const failures = endpoint?.failures ?? 0;
  ctx.metrics.webhookNotDelivered(callOf(delivery, outcome), error ?? '', { failures, gaveUp: pause === undefined });
  if (status === GONE) await disableByService(ctx, delivery.targetId, 'gone', delivery.url);
}

/** Releases the lease of a delivery that was not sent: the service stops, the circuit is open, or a secret cannot be decrypted. */
export async function putBack(ctx: Context, delivery: Leased, error: unknown): Promise<void> {
  const unavailable = error instanceof Problem && error.type === 'unavailable' ? error : undefined;
  const seconds = unavailable === undefined ? UNSIGNED_SECONDS : Number(unavailable.headers['Retry-After'] ?? 1);
  if (unavailable === undefined)
    ctx.log.error('a webhook event cannot be sent', { endpoint_id: delivery.targetId, reason: String(error) });
  const [targetId, position, leasedUntil] = leaseOf(delivery);
  await rows(ctx.db, PUT_BACK, [targetId, position, leasedUntil, seconds]);
}
