import { Gauge } from 'prom-client';
import type { Context } from '../context';
import { readRetentionBacklog, type TableBacklog } from '../retention/backlog';
import { liveReplicas } from './derived';
import { readStoredState } from './read-stored-state';
import { clockOffsetSeconds } from './replica-state';
import { type ReadingTimes, SharedReading } from './shared-reading';
import type { StoredState } from './stored-state';
import { THRESHOLDS } from './thresholds';

/** The values of a gauge: one, or one for each value of its label. Undefined: it is not known. */
type Values = number | undefined | Readonly<Record<string, number>>;
type StoredGauge = readonly [
  name: string,
  help: string,
  label: string | undefined,
  values: (state: StoredState) => Values,
];

const DAY_SECONDS = 86_400;
/** How often the backlog of retention is read at most. Its job runs every ten minutes. */
const BACKLOG_EVERY_MS = 60_000;
const BACKLOG_KEPT_MS = 600_000;

const GAUGES: readonly StoredGauge[] = [
  [
    'scsp_codes_active',
    'Active pairing codes by length, counted to 10,000',
    'length',
    ({ codes }) => Object.fromEntries(codes.map(({ length, active }) => [length, active])),
  ],
  [
    'scsp_code_space_used_ratio',
    'Active pairing codes of a length, as a share of those that may be active at once before codes get longer',
    'length',
    ({ codes }) => Object.fromEntries(codes.map(({ length, usedRatio }) => [length, usedRatio])),
  ],
  [
    'scsp_cpos_at_limit',
    'CPOs that have used up their incorrect codes of a window',
    'window',
    ({ atLimit }) => ({
      '10min': atLimit.filter(({ at10Min }) => at10Min).length,
      '24h': atLimit.filter(({ at24H }) => at24H).length,
    }),
  ],
  ['scsp_cpos_suspended', 'Suspended CPOs', undefined, ({ suspended }) => suspended.length],
  [
    'scsp_outbox_notifications',
    'Notifications of CPOs that were not delivered, counted to 10,000',
    'state',
    ({ outbox }) => ({ waiting: outbox.waiting, dead_lettered: outbox.deadLettered }),
  ],
  [
    'scsp_outbox_oldest_age_seconds',
    'Age of the oldest notification that waits for a CPO',
    undefined,
    ({ outbox }) => outbox.oldestSeconds,
  ],
  [
    'scsp_events_unpublished',
    'Events that have no position yet, counted to 10,000',
    undefined,
    ({ events }) => events.waiting,
  ],
  [
    'scsp_events_lag_seconds',
    'Age of the oldest event that has no position yet',
    undefined,
    ({ events }) => events.oldestSeconds,
  ],
  [
    'scsp_webhook_deliveries_waiting',
    'Deliveries to webhook endpoints that wait, counted to 10,000',
    undefined,
    ({ deliveries }) => deliveries.waiting,
  ],
  [
    'scsp_webhook_oldest_age_seconds',
    'Time since the oldest event that waits for a webhook endpoint was published',
    undefined,
    ({ deliveries }) => deliveries.oldestSeconds,
  ],
  ['scsp_webhook_endpoints', 'Webhook endpoints by state', 'state', ({ endpoints }) => endpointCounts(endpoints)],
  [
    'scsp_tokens_expiring',
    'Tokens in use that expire within a time',
    'within',
    ({ tokens }) => ({
      '7d': tokens.filter(({ expiresInSeconds }) => expiresInSeconds < 7 * DAY_SECONDS).length,
      '30d': tokens.length,
    }),
  ],
  [
    'scsp_retention_backlog_rows',
    'Rows that retention has yet to delete, by table, counted to a bound',
    'table',
    ({ backlog }) => Object.fromEntries(backlog.map(({ table, rows }) => [table, rows])),
  ],
  [
    'scsp_erasures_pending',
    'Pairings of forgotten users that are not erased yet',
    undefined,
    ({ erasures }) => erasures.waiting,
  ],
  ['scsp_database_size_bytes', 'Size of the database', undefined, ({ database }) => database.sizeBytes],
  [
    'scsp_database_is_primary',
    'Whether the database is a primary',
    undefined,
    ({ database }) => Number(database.isPrimary),
  ],
  [
    'scsp_database_standbys',
    'Streaming standbys of the database; -1 if the role may not see them',
    undefined,
    ({ database }) => database.standbys ?? -1,
  ],
  [
    'scsp_database_replication_lag_seconds',
    'Lag of the standby that is furthest behind; absent without one, or if the role may not see it',
    undefined,
    ({ database }) => database.lagSeconds,
  ],
  [
    'scsp_replicas',
    `Replicas seen in the last ${THRESHOLDS.replicaSeenSeconds} s, by version`,
    'version',
    (state) => countBy(liveReplicas(state).map(({ version }) => version)),
  ],
];

/** `failing` endpoints are enabled, and their last attempt failed. */
export function endpointCounts(
  endpoints: StoredState['endpoints'],
): Record<'enabled' | 'failing' | 'disabled', number> {
  const failing = endpoints.filter(
    ({ status, failingSeconds }) => status === 'enabled' && failingSeconds !== null,
  ).length;
  const disabled = endpoints.filter(({ status }) => status === 'disabled').length;
  return { enabled: endpoints.length - failing - disabled, failing, disabled };
}

function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

/**
 * Creates the function that reads the backlog of retention, at most once a minute. If that fails, the backlog of a while ago is
 * returned, then none: the other gauges are shown all the same.
 */
function backlogReader(ctx: Pick<Context, 'config' | 'db'>): () => Promise<readonly TableBacklog[]> {
  let triedAt = Number.NEGATIVE_INFINITY;
  let last: { readonly at: number; readonly backlog: readonly TableBacklog[] } | undefined;
  return async () => {
    const now = performance.now();
    if (now - triedAt >= BACKLOG_EVERY_MS) {
      triedAt = now;
      const backlog = await readRetentionBacklog(ctx).catch(() => undefined);
      if (backlog !== undefined) last = { at: now, backlog };
    }
    return last !== undefined && now - last.at <= BACKLOG_KEPT_MS ? last.backlog : [];
  };
}

/** Registers the gauges of the stored state. A scrape reads it at most every 10 s; what is not known is not exported. */
export function registerStoredState(
  ctx: Pick<Context, 'config' | 'db' | 'listener' | 'metrics'>,
  times: Partial<ReadingTimes> = {},
): void {
  const { registry } = ctx.metrics;
  const readBacklog = backlogReader(ctx);
  const reading = new SharedReading(() => readStoredState(ctx, readBacklog), times);
  for (const [name, help, label, values] of GAUGES)
    new Gauge({
      name,
      help,
      labelNames: label === undefined ? [] : [label],
      registers: [registry],
      async collect() {
        const state = await reading.latest();
        this.reset();
        // A gauge without labels begins with 0.
        if (label === undefined) this.remove();
        const now = state && values(state);
        if (typeof now === 'number') this.set(now);
        else for (const [value, number] of Object.entries(now ?? {})) this.set({ [label ?? '']: value }, number);
      },
    });
  new Gauge({
    name: 'scsp_stored_state_read_timestamp_seconds',
    help: "When the stored state was read last, by the database's clock",
    registers: [registry],
    async collect() {
      await reading.latest();
      if (reading.lastReadAt === undefined) this.remove();
      else this.set(reading.lastReadAt.getTime() / 1_000);
    },
  });
  new Gauge({
    name: 'scsp_clock_offset_seconds',
    help: "This host's clock minus the database's",
    registers: [registry],
    collect() {
      this.set(clockOffsetSeconds(ctx.listener));
    },
  });
}
