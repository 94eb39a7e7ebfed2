import { Gauge, Histogram, type Registry } from 'prom-client';
import type { Schemas } from '../contract/document';
import { type Origin, originFields } from '../contract/trace-context';
import type { Log, LogFields } from '../log';
import { type CpoLabel, counterOf } from './labels';

/** A notification of an unpairing in log fields; `origin` is the request that caused it. */
type Notified = { readonly pairingId: string | null; readonly cpoId: string; readonly origin: Origin };

type Operation = Schemas['CallOperation'];
type Outcome = Schemas['CallOutcome'];

/** The label of each outcome of a call; undefined: the call says nothing about the CPO. */
const CALL_OUTCOMES: Readonly<Record<Outcome, string | undefined>> = {
  answered: 'answered',
  'incorrect-code': 'incorrect-code',
  rejected: 'client-error',
  redirected: 'invalid-response',
  'invalid-answer': 'invalid-response',
  unreachable: 'no-connection',
  'forbidden-address': 'no-connection',
  'timed-out': 'no-answer',
  interrupted: undefined,
};
const CIRCUIT_OPEN = 'circuit-open';

type CallFields = LogFields & {
  readonly cpo_id: string;
  readonly operation: Operation;
  readonly status: number | undefined;
  readonly outcome: Outcome;
};

function outcomeLabel({ outcome, status = 0 }: CallFields): string | undefined {
  if (status >= 500) return 'server-error';
  if (status === 401 || status === 403) return 'unauthorized';
  return CALL_OUTCOMES[outcome];
}

/** Records calls to CPOs and notifications. */
export function cpoMetrics(registry: Registry, log: Log, cpoLabel: CpoLabel) {
  const calls = new Histogram({
    name: 'scsp_cpo_call_duration_seconds',
    help: 'Duration of calls to CPOs, by CPO, operation and outcome',
    labelNames: ['cpo', 'operation', 'outcome'],
    // A call takes at most 10 s.
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  const openCircuits = new Gauge({
    name: 'scsp_cpo_circuit_open',
    help: 'Whether the circuit of a CPO is open in this process, because consecutive calls of several users failed',
    labelNames: ['cpo'],
    registers: [registry],
  });
  const notifications = counterOf(
    registry,
    'scsp_cpo_notifications_total',
    'Attempts to notify a CPO of an unpairing, by outcome',
    'outcome',
    ['delivered', 'skipped', 'failed', 'dead_lettered'],
  );
  const delays = new Histogram({
    name: 'scsp_cpo_notification_delay_seconds',
    help: "Time from an unpairing, or from the CPO's first answer after its last failed call if that was later, until the CPO accepted the notification",
    // 60 is an objective: 99 % are delivered within 60 s.
    buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 3_600],
    registers: [registry],
  });

  return {
    cpoCalled(seconds: number, fields: CallFields) {
      const outcome = outcomeLabel(fields);
      if (outcome !== undefined)
        calls.observe({ cpo: cpoLabel(fields.cpo_id), operation: fields.operation, outcome }, seconds);
      log.info('CPO called', { ...fields, duration_ms: Math.round(seconds * 1_000) });
    },
    /** Counts a call that was not made, because the circuit is open. The opening has a log line. */
    cpoNotCalled(cpoId: string, operation: Operation) {
      calls.observe({ cpo: cpoLabel(cpoId), operation, outcome: CIRCUIT_OPEN }, 0);
    },
    /** Says why a redemption has no station. The call itself is recorded by `cpoCalled`. */
    cpoCallFailed(fields: { cpo_id: string; payload_protocol: string }, origin: Origin, reason: string) {
      log.warn('call to a CPO failed', { ...fields, ...originFields(origin), reason });
    },
    circuitOpened(cpoId: string) {
      openCircuits.inc({ cpo: cpoLabel(cpoId) });
      log.warn('circuit of a CPO opened: it is not called for 30 s', { cpo_id: cpoId });
    },
    circuitClosed(cpoId: string) {
      openCircuits.dec({ cpo: cpoLabel(cpoId) });
      log.info('circuit of a CPO closed', { cpo_id: cpoId });
    },
    /** @param delaySeconds since the unpairing, or since the CPO's first answer after its last failed call if that was later */
    cpoNotified(notified: Notified, delaySeconds: number | undefined) {
      notifications.inc({ outcome: 'delivered' });
      if (delaySeconds !== undefined) delays.observe(delaySeconds);
      log.info('CPO notified of an unpairing', { ...notifiedFields(notified), outcome: 'delivered' });
    },
    /** The station is paired with the CPO again, so that it must not be notified. */
    notificationSkipped(notified: Notified) {
      notifications.inc({ outcome: 'skipped' });
      log.info('CPO notified of an unpairing', { ...notifiedFields(notified), outcome: 'skipped' });
    },
    cpoNotNotified(notified: Notified, reason: string, deadLettered: boolean) {
      notifications.inc({ outcome: deadLettered ? 'dead_lettered' : 'failed' });
      const message = deadLettered ? 'gave up notifying a CPO of an unpairing' : 'CPO not notified of an unpairing yet';
      log[deadLettered ? 'error' : 'warn'](message, { ...notifiedFields(notified), reason });
    },
    /** Records that a CPO has a pairing which was not stored here, and that its notification waits in memory for the database. */
    notificationNotStored(cpoId: string, origin: Origin, reason: string) {
      log.error('a CPO paired a station that was not stored, and its notification is not stored yet', {
        cpo_id: cpoId,
        ...originFields(origin),
        reason,
      });
    },
    notificationStored(cpoId: string, origin: Origin) {
      log.info('the notification of a CPO is stored now', { cpo_id: cpoId, ...originFields(origin) });
    },
  };
}

const notifiedFields = ({ pairingId, cpoId, origin }: Notified) => ({
  pairing_id: pairingId ?? undefined,
  cpo_id: cpoId,
  ...originFields(origin),
});
