import type { Schemas } from '../contract/document';
import type { DeliverySummary } from './deliveries';
import type { Endpoint } from './endpoints';

/** Writes an endpoint in the format of the API, which the commands use, too. */
export function writeEndpoint(endpoint: Endpoint): Schemas['WebhookEndpoint'] {
  return {
    id: endpoint.id,
    url: endpoint.url,
    types: endpoint.types ?? undefined,
    description: endpoint.description ?? undefined,
    status: endpoint.status,
    disabled_reason: endpoint.disabledReason ?? undefined,
    created_at: endpoint.createdAt.toISOString(),
    failing_since: endpoint.failingSince?.toISOString(),
    last_success_at: endpoint.lastSuccessAt?.toISOString(),
  };
}

/** Writes a delivery in the format of the API. */
export function writeDelivery(delivery: DeliverySummary): Schemas['WebhookDelivery'] {
  return {
    event_id: delivery.eventId,
    type: delivery.type,
    position: delivery.position,
    status: delivery.status,
    attempts: delivery.attempts,
    next_attempt_at: delivery.nextAttemptAt?.toISOString(),
    last_status: delivery.lastStatus ?? undefined,
    last_duration_ms: delivery.lastDurationMs ?? undefined,
    last_error: delivery.lastError ?? undefined,
  };
}
