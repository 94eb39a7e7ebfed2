import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type Origin, traceFields } from './contract/trace-context';
import type { Log, LogFields } from './log';

/** One function per business event: its log line and its counter together. */
export type Metrics = ReturnType<typeof createMetrics>;

/** CPOs that have a time series of their own; those that are seen later share one. */
const CPO_LABELS = 100;

/** A notification of an unpair as log lines name it: `origin` is the call to the CPO. */
type Notified = { readonly pairingId: string | null; readonly cpoId: string; readonly origin: Origin };

export function createMetrics(log: Log) {
  const registry = new Registry();
  const requests = new Histogram({
    name: 'scsp_request_duration_seconds',
    help: 'Time from the first byte of a request to the last of its answer',
    labelNames: ['operation', 'status'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 5],
    registers: [registry],
  });
  const pairings = new Counter({
    name: 'scsp_pair_attempts_total',
    help: 'Pairing requests that reached the code, by outcome',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const dayLimits = new Counter({
    name: 'scsp_cpo_day_limits_reached_total',
    help: 'How often a CPO has used up its incorrect codes of 24 hours, by CPO',
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
    help: 'Users forgotten, those of whom nothing was stored included',
    registers: [registry],
  });
  const calls = new Counter({
    name: 'scsp_cpo_calls_failed_total',
    help: 'Calls to CPOs that failed or were answered wrongly',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const circuits = new Gauge({
    name: 'scsp_cpo_circuit_open',
    help: 'CPOs that this process does not call for a while, because calls of several users failed in a row',
    labelNames: ['cpo'],
    registers: [registry],
  });
  const labelled = new Set<string>();
  const cpoLabel = (cpoId: string) => {
    if (labelled.size < CPO_LABELS) labelled.add(cpoId);
    return { cpo: labelled.has(cpoId) ? cpoId : 'other' };
  };
  const tellings = new Counter({
    name: 'scsp_tellings_total',
    help: 'Attempts to tell a CPO of an unpairing, by outcome',
    labelNames: ['outcome'],
    registers: [registry],
  });

  return {
    registry,
    /** Adds what every Node process has to show; once per process. */
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
      calls.inc({ outcome: 'failed' });
      log.warn('call to a CPO failed', { ...fields, ...originFields(origin), reason });
    },
    circuitOpened(cpoId: string) {
      circuits.inc(cpoLabel(cpoId));
      log.warn('circuit of a CPO opened: it is not called for 30 s', { cpo_id: cpoId });
    },
    circuitClosed(cpoId: string) {
      circuits.dec(cpoLabel(cpoId));
      log.info('circuit of a CPO closed', { cpo_id: cpoId });
    },
    cpoTold(notified: Notified, outcome: 'told' | 'paired again') {
      tellings.inc({ outcome });
      log.info('CPO told of an unpairing', { ...notifiedFields(notified), outcome });
    },
    cpoNotTold(notified: Notified, reason: string, gaveUp: boolean) {
      tellings.inc({ outcome: gaveUp ? 'given up' : 'failed' });
      const message = gaveUp ? 'gave up telling a CPO of an unpairing' : 'CPO not told of an unpairing yet';
      log[gaveUp ? 'error' : 'warn'](message, { ...notifiedFields(notified), reason });
    },
    /** The CPO believes in a pairing that was not kept, and nothing will notify it. */
    pairingNotTakenBack(cpoId: string, origin: Origin, reason: string) {
      log.error('a CPO paired a station that was not stored, and its notification was not stored either', {
        cpo_id: cpoId,
        ...originFields(origin),
        reason,
      });
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
