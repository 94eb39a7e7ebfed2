import { liveReplicas, standbysWanted } from '../status/derived';
import { endpointCounts } from '../status/gauges';
import type { DatabaseState, Queue, StoredState } from '../status/stored-state';
import { count, duration, names, percent, size } from '../status/words';
import { fields, type Row } from './text';

/** Returns the members of the JSON output. Members are left out if the role may not see them. */
export function statusJson(state: StoredState): Row {
  const { database, outbox, events, deliveries, erasures } = state;
  const live = new Set(liveReplicas(state));
  return {
    read_at: state.readAt.toISOString(),
    database: {
      version: database.version,
      role: roleOf(database),
      size_bytes: database.sizeBytes,
      connections: database.connections,
      max_connections: database.maxConnections,
      standbys: database.standbys,
      synchronous_standbys: database.synchronousStandbys,
      synchronous_standbys_wanted: standbysWanted(database.synchronousStandbyNames),
      replication_lag_seconds: database.lagSeconds,
    },
    replicas: state.replicas.map((replica) => ({
      id: replica.id,
      version: replica.version,
      node_version: replica.nodeVersion,
      host: replica.host,
      started_at: replica.startedAt.toISOString(),
      seen_at: replica.seenAt.toISOString(),
      alive: live.has(replica),
      state: replica.state,
    })),
    codes: state.codes.map(({ length, active, usedRatio }) => ({ length, active, used_ratio: usedRatio })),
    cpos: {
      at_limit: state.atLimit.map(({ id, name, at10Min, at24H }) => ({
        id,
        name,
        windows: [...(at10Min ? ['10min'] : []), ...(at24H ? ['24h'] : [])],
      })),
      suspended: state.suspended,
      circuits_open: state.circuits.map(({ id, name, openSince }) => ({
        id,
        name,
        open_since: openSince.toISOString(),
      })),
    },
    outbox: { ...queueJson(outbox), dead_lettered: outbox.deadLettered },
    events: { unpublished: events.waiting, lag_seconds: events.oldestSeconds },
    webhooks: { endpoints: endpointCounts(state.endpoints), deliveries: queueJson(deliveries) },
    tokens_expiring: state.tokens.map(({ id, role, owner, expiresAt }) => ({
      id,
      role,
      owner,
      expires_at: expiresAt.toISOString(),
    })),
    erasures: queueJson(erasures),
    retention_backlog: state.backlog,
  };
}

const queueJson = ({ waiting, oldestSeconds }: Queue) => ({ waiting, oldest_seconds: oldestSeconds });
const roleOf = ({ isPrimary }: DatabaseState) => (isPrimary ? 'primary' : 'standby');

/** Returns the lines for a person. */
export function statusText(state: StoredState): string {
  const { database, outbox, events, deliveries, endpoints, tokens, erasures } = state;
  const counts = endpointCounts(endpoints);
  const list = (all: readonly { readonly name: string }[]) => names(all.map(({ name }) => name)) || 'none';
  return fields({
    database: `PostgreSQL ${database.version}, ${roleOf(database)}, ${size(database.sizeBytes)}, ${database.connections} of ${database.maxConnections} connections`,
    replication: replication(database),
    migrations: 'none pending',
    ...replicas(state),
    codes:
      state.codes
        .map(
          ({ length, active, usedRatio }) => `${length} digits: ${active} active, ${percent(usedRatio)} of the space`,
        )
        .join('; ') || 'none',
    CPOs_at_a_limit: `10 min: ${list(state.atLimit.filter(({ at10Min }) => at10Min))}; 24 h: ${list(state.atLimit.filter(({ at24H }) => at24H))}`,
    CPOs_suspended: list(state.suspended),
    open_circuits:
      names(state.circuits.map(({ name, openSince }) => `${name} since ${openSince.toISOString()}`)) || 'none',
    outbox: `${queue(outbox)}; ${outbox.deadLettered} dead-lettered`,
    events: events.waiting === 0 ? 'all published' : `${queue(events)} for the publisher`,
    webhooks: `${counts.enabled} enabled, ${counts.failing} failing, ${counts.disabled} disabled; ${queue(deliveries)}`,
    tokens:
      tokens.length === 0
        ? 'none expires within 30 days'
        : names(tokens.map(({ role, owner, expiresInSeconds }) => `${role} ${owner} in ${duration(expiresInSeconds)}`)),
    erasures: queue(erasures),
    retention:
      names(state.backlog.filter(({ rows }) => rows > 0).map(({ table, rows }) => `${table} ${rows}`)) ||
      'nothing left',
  });
}

const queue = ({ waiting, oldestSeconds }: Queue) =>
  waiting === 0 ? 'none waits' : `${waiting} waiting, the oldest for ${duration(oldestSeconds)}`;

function replication({ synchronousStandbyNames, standbys, lagSeconds }: DatabaseState): string {
  const wanted = standbysWanted(synchronousStandbyNames);
  const commits = wanted === 0 ? '' : `; commits wait for ${wanted}`;
  if (standbys === undefined) return `not visible to this role${commits}`;
  const lag = lagSeconds === undefined ? '' : `, ${lagSeconds.toFixed(1)} s behind`;
  return `${standbys === 0 ? 'no standby' : count(standbys, 'standby')}${lag}${commits}`;
}

function replicas(state: StoredState): Row {
  const live = liveReplicas(state);
  const lost = state.replicas.filter((replica) => !live.includes(replica));
  const shown = live.map(({ host, version, startedAt }) => `${host} ${version} since ${startedAt.toISOString()}`);
  const connected = live.filter(({ state }) => state.listener?.connected).length;
  return {
    replicas: names(shown) || 'none seen',
    replicas_lost:
      lost.length === 0
        ? undefined
        : names(lost.map(({ host, notSeenSeconds }) => `${host} not seen for ${duration(notSeenSeconds)}`)),
    listener: `connected in ${connected} of ${live.length}`,
  };
}
