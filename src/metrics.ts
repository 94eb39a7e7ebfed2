import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type Origin, traceFields } from './contract/trace-context';
import type { Log, LogFields } from './log';

/** Functions that record business events, one for each: they write its log line and update its metrics. */
export type Metrics = ReturnType<typeof createMetrics>;

/** The number of CPOs with a `cpo` label of their own. CPOs that are seen later share the label `other`. */
const CPO_LABELS = 100;

/** A notification of an unpairing in log fields; `origin` is the call to the CPO. */
type Notified = { readonly pairingId: string | null; readonly cpoId: string; readonly origin: Origin };

/** A call to a webhook endpoint in log fields. */
type WebhookCall = {
  readonly endpointId: string;
  readonly eventId: string;
  readonly origin: Origin;
  readonly status: number | undefined;
  readonly durationMs: number;
};

export function createMetrics(log: Log) {
  const registry = new Registry();
  const requests = new Histogram({
    name: 'scsp_request_duration_seconds',
    help: 'Time from the first byte of a request to the last byte of its response',
    labelNames: ['operation', 'status'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 5],
    registers: [registry],
  });
  const pairings = new Counter({
    name: 'scsp_pair_attempts_total',
    help: 'Pairing requests whose code was checked, by outcome',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const dayLimits = new Counter({
    name: 'scsp_cpo_day_limits_reached_total',
    help: 'How often a CPO has reached its 24-hour limit on incorrect codes, by CPO',
    labelNames: ['cpo'],
    registers: [registry],
  });
  const codes = new Counter({
    name: 'scsp_codes_total',
    help: 'Pairing codes issued, cancelled and expired',
    labelNames: ['event'],
    registers: [registry],
  });

  const unpairings = new Counter({
    name: 'scsp_unpairings_total',
    help: 'Pairings ended, by who ended them',
    labelNames: ['by'],
    registers: [registry],
  });
  const forgotten = new Counter({
    name: 'scsp_users_forgotten_total',
    help: 'Users forgotten, including those without stored data',
    registers: [registry],
  });
  const failedCalls = new Counter({
    name: 'scsp_cpo_calls_failed_total',
    help: 'Calls to CPOs that failed or returned an invalid response',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const openCircuits = new Gauge({
    name: 'scsp_cpo_circuit_open',
    help: 'Whether the circuit of a CPO is open in this process, because consecutive calls of several users failed',
    labelNames: ['cpo'],
    registers: [registry],
  });
  const labelled = new Set<string>();
  const cpoLabel = (cpoId: string) => {
    if (labelled.size < CPO_LABELS) labelled.add(cpoId);
    return { cpo: labelled.has(cpoId) ? cpoId : 'other' };
  };
  const notifications = new Counter({
    name: 'scsp_cpo_notifications_total',
    help: 'Attempts to notify a CPO of an unpairing, by outcome',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const webhookDeliveries = new Counter({
    name: 'scsp_webhook_deliveries_total',
    help: 'Attempts to deliver an event to a webhook endpoint, by outcome',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const webhooksFailing = new Counter({
    name: 'scsp_webhook_endpoints_failing_total',
    help: 'Webhook endpoints announced to be disabled, because they have failed for days',
    registers: [registry],
  });
  const webhooksDisabled = new Counter({
    name: 'scsp_webhook_endpoints_disabled_total',
    help: 'Webhook endpoints disabled, by reason',
    labelNames: ['reason'],
    registers: [registry],
  });
  let openWebhookCircuits = () => 0;
  new Gauge({
    name: 'scsp_webhook_circuits_open',
    help: 'Webhook endpoints that this process does not call at present, because consecutive calls failed',
    registers: [registry],
    collect() {
      this.set(openWebhookCircuits());
    },
  });

  return {
    registry,
    /** Registers the default metrics of Node.js; must be called once per process. */
    collectDefaults: () => collectDefaultMetrics({ register: registry }),

    requestAnswered(
      seconds: number,
      quiet: 'debug' | undefined,
      fields: LogFields & { operation: string; status: number },
    ) {
      requests.observe({ operation: fields.operation, status: fields.status }, seconds);
      const level = fields.status >= 500 ? 'warn' : (quiet ?? 'info');
      log[level]('request', { ...fields, duration_ms: Math.round(seconds * 1e6) / 1e3 });
    },
    stationPaired(fields: { pairing_id: string; code_id?: string; cpo_id: string; payload_protocol: string }) {
      pairings.inc({ outcome: 'paired' });
      log.info('station paired', fields);
    },
    pairingRefused(outcome: string, cpoId: string) {
      pairings.inc({ outcome });
      log.info('pairing refused', { outcome, cpo_id: cpoId });
    },
    dayLimitReached(cpoId: string) {
      dayLimits.inc(cpoLabel(cpoId));
      log.warn('a CPO has used up its incorrect codes of 24 hours: see scsp cpo limits', { cpo_id: cpoId });
    },
    stationUnpaired(by: 'app' | 'cpo', pairingId: string, cpoId: string) {
      unpairings.inc({ by });
      log.info('station unpaired', { role: by, pairing_id: pairingId, cpo_id: cpoId });
    },
    userForgotten(fields: { user_hash: string; pairings: number }) {
      forgotten.inc();
      log.info('user forgotten', { user_hash: fields.user_hash, count: fields.pairings });
    },
    cpoCallFailed(fields: { cpo_id: string; payload_protocol: string }, origin: Origin, reason: string) {
      failedCalls.inc({ outcome: 'failed' });
      log.warn('call to a CPO failed', { ...fields, ...originFields(origin), reason });
    },
    circuitOpened(cpoId: string) {
      openCircuits.inc(cpoLabel(cpoId));
      log.warn('circuit of a CPO opened: it is not called for 30 s', { cpo_id: cpoId });
    },
    circuitClosed(cpoId: string) {
      openCircuits.dec(cpoLabel(cpoId));
      log.info('circuit of a CPO closed', { cpo_id: cpoId });
    },
    /** `skipped`: the station is paired with the CPO again, so that it must not be notified. */
    cpoNotified(notified: Notified, outcome: 'delivered' | 'skipped') {
      notifications.inc({ outcome });
      log.info('CPO notified of an unpairing', { ...notifiedFields(notified), outcome });
    },
    cpoNotNotified(notified: Notified, reason: string, deadLettered: boolean) {
      notifications.inc({ outcome: deadLettered ? 'dead_lettered' : 'failed' });
      const message = deadLettered ? 'gave up notifying a CPO of an unpairing' : 'CPO not notified of an unpairing yet';
      log[deadLettered ? 'error' : 'warn'](message, { ...notifiedFields(notified), reason });
    },
    /** Records that a CPO has a pairing which was not stored here, and that it will not be notified. */
    notificationNotStored(cpoId: string, origin: Origin, reason: string) {
      log.error('a CPO paired a station that was not stored, and its notification was not stored either', {
        cpo_id: cpoId,
        ...originFields(origin),
        reason,
      });
    },
    webhookDelivered(fields: WebhookCall) {
      webhookDeliveries.inc({ outcome: 'delivered' });
      log.debug('webhook event delivered', webhookFields(fields));
    },
    /** Logs the first failure since the last success, and giving up, rather than each of thousands. */
    webhookNotDelivered(
      fields: WebhookCall,
      reason: string,
      { failures, gaveUp }: { failures: number; gaveUp: boolean },
    ) {
      webhookDeliveries.inc({ outcome: gaveUp ? 'gave_up' : 'failed' });
      const message = gaveUp ? 'gave up delivering a webhook event' : 'webhook event not delivered yet';
      log[gaveUp || failures === 1 ? 'warn' : 'debug'](message, { ...webhookFields(fields), reason });
    },
    webhookFailing({ id, failingSince }: { id: string; failingSince: Date }) {
      webhooksFailing.inc();
      log.warn('a webhook endpoint has failed for four days and will be disabled', {
        endpoint_id: id,
        reason: `failing since ${failingSince.toISOString()}`,
      });
    },
    webhookDisabled({ id, reason }: { id: string; reason: string }) {
      webhooksDisabled.inc({ reason });
      log.warn('webhook endpoint disabled', { endpoint_id: id, reason });
    },
    /** Sets the function that counts open circuits. Counted when read: nothing closes the circuit of a deleted endpoint. */
    countWebhookCircuits(count: () => number) {
      openWebhookCircuits = count;
    },
    webhookCircuitOpened(endpointId: string) {
      log.warn('circuit of a webhook endpoint opened: it is not called for 30 s', { endpoint_id: endpointId });
    },
    webhookCircuitClosed(endpointId: string) {
      log.info('circuit of a webhook endpoint closed', { endpoint_id: endpointId });
    },
    codeIssued(codeId: string) {
      codes.inc({ event: 'issued' });
      log.info('code issued', { code_id: codeId });
    },
    codeCancelled(codeId: string) {
      codes.inc({ event: 'cancelled' });
      log.info('code cancelled', { code_id: codeId });
    },
    codeExpired(codeId: string) {
      codes.inc({ event: 'expired' });
      log.info('code expired', { code_id: codeId });
    },
  };
}

const originFields = ({ requestId, trace }: Origin) => ({ request_id: requestId, ...traceFields(trace) });

const notifiedFields = ({ pairingId, cpoId, origin }: Notified) => ({
  pairing_id: pairingId ?? undefined,
  cpo_id: cpoId,
  ...originFields(origin),
});

const webhookFields = ({ endpointId, eventId, origin, status, durationMs }: WebhookCall) => ({
  endpoint_id: endpointId,
  event_id: eventId,
  ...originFields(origin),
  status,
  duration_ms: durationMs,
});
