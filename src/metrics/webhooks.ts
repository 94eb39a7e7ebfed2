import { Counter, Histogram, type Registry } from 'prom-client';
import { type Origin, optionalOriginFields, originFields } from '../contract/trace-context';
import type { Log, LogFields } from '../log';
import { counterOf } from './labels';

/** A call to a webhook endpoint in log fields. */
type WebhookCall = {
  readonly endpointId: string;
  readonly eventId: string;
  readonly origin: Origin;
  /** What the event is about; undefined if it was not read. */
  readonly about?: Pick<LogFields, 'cpo_id' | 'pairing_id' | 'code_id'> | undefined;
  readonly status: number | undefined;
  readonly durationMs: number;
};

/** Records deliveries to webhook endpoints. */
export function webhookMetrics(registry: Registry, log: Log) {
  const deliveries = counterOf(
    registry,
    'scsp_webhook_deliveries_total',
    'Attempts to deliver an event to a webhook endpoint, by outcome',
    'outcome',
    ['delivered', 'failed', 'gave_up'],
  );
  const delays = new Histogram({
    name: 'scsp_webhook_delivery_delay_seconds',
    help: "Time from the publication of an event, or from the endpoint's first answer after its last failed attempt if that was later, until the endpoint accepted it at the first attempt",
    // 5 is an objective: 99 % are delivered within 5 s.
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 300, 3_600],
    registers: [registry],
  });
  const failing = new Counter({
    name: 'scsp_webhook_endpoints_failing_total',
    help: 'Webhook endpoints announced to be disabled, because they have failed for days',
    registers: [registry],
  });
  const disabled = counterOf(
    registry,
    'scsp_webhook_endpoints_disabled_total',
    'Webhook endpoints disabled, by reason',
    'reason',
    ['app', 'operator', 'gone', 'failing', 'no-live-token'],
  );

  return {
    /** @param delaySeconds undefined after a failed attempt, and for an event that is delivered again because somebody asked for it */
    webhookDelivered(call: WebhookCall, delaySeconds: number | undefined) {
      deliveries.inc({ outcome: 'delivered' });
      if (delaySeconds !== undefined) delays.observe(delaySeconds);
      log.debug('webhook event delivered', webhookFields(call));
    },
    /** Logs the first failure since the last success, and giving up, rather than each of thousands. */
    webhookNotDelivered(
      call: WebhookCall,
      reason: string,
      { failures, gaveUp }: { failures: number; gaveUp: boolean },
    ) {
      deliveries.inc({ outcome: gaveUp ? 'gave_up' : 'failed' });
      const message = gaveUp ? 'gave up delivering a webhook event' : 'webhook event not delivered yet';
      log[gaveUp || failures === 1 ? 'warn' : 'debug'](message, { ...webhookFields(call), reason });
    },
    webhookFailing({ id, failingSince }: { id: string; failingSince: Date }) {
      failing.inc();
      log.warn('a webhook endpoint has failed for four days and will be disabled', {
        endpoint_id: id,
        reason: `failing since ${failingSince.toISOString()}`,
      });
    },
    webhookDisabled({ id, reason }: { id: string; reason: string }, origin: Origin | undefined) {
      disabled.inc({ reason });
      log.warn('webhook endpoint disabled', { endpoint_id: id, reason, ...optionalOriginFields(origin) });
    },
    webhookCircuitOpened(endpointId: string) {
      log.warn('circuit of a webhook endpoint opened: it is not called for 30 s', { endpoint_id: endpointId });
    },
    webhookCircuitClosed(endpointId: string) {
      log.info('circuit of a webhook endpoint closed', { endpoint_id: endpointId });
    },
  };
}

const webhookFields = ({ endpointId, eventId, origin, about, status, durationMs }: WebhookCall) => ({
  endpoint_id: endpointId,
  event_id: eventId,
  ...about,
  ...originFields(origin),
  status,
  duration_ms: durationMs,
});
