import { Histogram, type Registry } from 'prom-client';
import type { Log, LogFields } from '../log';
import { counterOf } from './labels';

/**
 * Why a request was refused without being processed: its CPO or app had too many at once (`caller`), or the process had too many of
 * that kind. `self_service`: all self-service CPOs of a sandbox together. `redemptions`: the codes of one CPO.
 */
export type ShedReason =
  | 'caller'
  | 'self_service'
  | 'bodies'
  | 'requests'
  | 'long_polls'
  | 'pages'
  | 'redemptions'
  | 'connections';

const SHED_REASONS: Readonly<Record<ShedReason, true>> = {
  caller: true,
  self_service: true,
  bodies: true,
  requests: true,
  long_polls: true,
  pages: true,
  redemptions: true,
  connections: true,
};

/** Records requests. */
export function requestMetrics(registry: Registry, log: Log) {
  const requests = new Histogram({
    name: 'scsp_request_duration_seconds',
    help: 'Time from the first byte of a request to the last byte of its response',
    labelNames: ['operation', 'status'],
    // 0.25 is an objective: 99 % of pair requests are answered within 250 ms.
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 5],
    registers: [registry],
  });
  const shed = counterOf(
    registry,
    'scsp_requests_shed_total',
    'Requests refused because too many were in progress, by the limit that was reached',
    'reason',
    Object.keys(SHED_REASONS),
  );
  return {
    requestAnswered(
      seconds: number,
      quiet: 'debug' | undefined,
      fields: LogFields & { operation: string; status: number },
    ) {
      requests.observe({ operation: fields.operation, status: fields.status }, seconds);
      const level = fields.status >= 500 ? 'warn' : (quiet ?? 'info');
      log[level]('request', { ...fields, duration_ms: Math.round(seconds * 1e6) / 1e3 });
    },
    /** Counts a refused request. Its log line is that of the request. */
    requestShed(reason: ShedReason) {
      shed.inc({ reason });
    },
  };
}
