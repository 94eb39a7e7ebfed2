import { readFileSync } from 'node:fs';
import { Counter, Gauge, type Registry } from 'prom-client';
import { projectFile } from '../contract/document';
import type { Log } from '../log';
import { counterOf } from './labels';

/** The connections of the pool. `waiting`: requests that wait for one. */
export type PoolConnections = Readonly<Record<'used' | 'idle' | 'waiting', number>>;

/** Why the database did not do what it was asked. */
export type DatabaseErrorReason = 'unreachable' | 'timeout' | 'disk_full' | 'read_only' | 'other';

const DATABASE_ERRORS: Readonly<Record<DatabaseErrorReason, true>> = {
  unreachable: true,
  timeout: true,
  disk_full: true,
  read_only: true,
  other: true,
};

/** The state of the process, read from memory at each scrape. What is not set has no series. */
export type Sources = {
  pool(): PoolConnections;
  readonly listener: { readonly connected: boolean; readonly disconnectedSeconds: number };
  /** The requests that wait for a batch, to pair and to issue codes. */
  pairQueue(): number;
  codeQueue(): number;
  requestsInFlight(): number;
  longPolls(): number;
  webhookCircuits(): number;
};

const { version }: { version: string } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));

/** Exports the state of the process. */
export function processMetrics(registry: Registry, log: Log) {
  const sources: Partial<Sources> = {};
  /** Creates a gauge that has a value once its sources are set. */
  const gauge = (name: string, help: string, read: () => number | undefined) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        const value = read();
        if (value !== undefined) this.set(value);
        else this.remove();
      },
    });

  new Gauge({
    name: 'scsp_build_info',
    help: 'The version of the service and of Node.js; always 1',
    labelNames: ['version', 'node'],
    registers: [registry],
  }).set({ version, node: process.versions.node }, 1);
  new Gauge({
    name: 'scsp_db_pool_connections',
    help: 'Connections of the pool in use and idle, and requests that wait for one',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      for (const [state, count] of Object.entries(sources.pool?.() ?? {})) this.set({ state }, count);
    },
  });
  gauge('scsp_batch_queue_requests', 'Requests that wait for a batch', () =>
    sources.pairQueue === undefined && sources.codeQueue === undefined
      ? undefined
      : (sources.pairQueue?.() ?? 0) + (sources.codeQueue?.() ?? 0),
  );
  gauge('scsp_requests_in_flight', 'Authenticated requests in progress, without long polls', () =>
    sources.requestsInFlight?.(),
  );
  gauge('scsp_long_polls', 'Long polls that wait', () => sources.longPolls?.());
  gauge(
    'scsp_webhook_circuits_open',
    'Webhook endpoints that this process does not call at present, because consecutive calls failed',
    () => sources.webhookCircuits?.(),
  );
  gauge('scsp_listener_connected', 'Whether notifications of the database arrive', () =>
    sources.listener === undefined ? undefined : Number(sources.listener.connected),
  );
  gauge(
    'scsp_listener_disconnected_seconds',
    'Time since the connection for notifications was lost; 0 while connected',
    () => sources.listener?.disconnectedSeconds,
  );
  new Counter({
    name: 'scsp_log_lines_lost_total',
    help: 'Log lines lost, because standard output accepted no data',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(log.linesLost());
    },
  });
  const databaseErrors = counterOf(
    registry,
    'scsp_database_errors_total',
    'Statements and transactions that failed because the database was unavailable, by reason',
    'reason',
    Object.keys(DATABASE_ERRORS),
  );

  return {
    /** Sets where state is read from. */
    readFrom(more: Partial<Sources>) {
      Object.assign(sources, more);
    },
    /** Counts a failure. Its log line is that of whoever asked. */
    databaseFailed(reason: DatabaseErrorReason) {
      databaseErrors.inc({ reason });
    },
  };
}
