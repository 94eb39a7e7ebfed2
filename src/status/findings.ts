import { liveReplicas, standbysWanted } from './derived';
import type { Replica, StoredState } from './stored-state';
import { THRESHOLDS as T } from './thresholds';
import { count, duration, names, percent, size } from './words';

/** Something that needs a person. Alert, finding and runbook have one name. */
export type Finding = {
  readonly name: string;
  readonly text: string;
  readonly runbook: string;
  /** `page`: customers notice it now. `ticket`: within a working day. */
  readonly severity: 'page' | 'ticket';
};

type Severity = Finding['severity'];
/** Returns what is wrong, or undefined if nothing is. */
type Check = (state: StoredState) => string | undefined;

export const finding = (name: string, severity: Severity, text: string): Finding => ({
  name,
  text,
  runbook: `docs/runbooks/${name}.md`,
  severity,
});

/** The database cannot be read, which no stored state can say. */
export const databaseUnreachable = (reason: string) => finding('database-unreachable', 'page', reason);

/** In the order in which they are shown. */
const CHECKS: Readonly<Record<string, readonly [Severity, Check]>> = {
  'service-down': ['page', serviceDown],
  'database-full': ['page', databaseFull],
  'standby-gone': ['page', standbyGone],
  'events-not-published': ['page', eventsNotPublished],
  'database-slow': ['ticket', databaseSlow],
  'listener-disconnected': ['ticket', listenerDisconnected],
  'cpo-not-answering': ['ticket', cpoNotAnswering],
  'cpo-failing': ['ticket', cpoFailing],
  'cpo-at-day-limit': ['ticket', cpoAtDayLimit],
  'codes-guessed': ['ticket', codesGuessed],
  'code-space-short': ['ticket', codeSpaceShort],
  'outbox-growing': ['ticket', outboxGrowing],
  'notifications-dead-lettered': ['ticket', notificationsDeadLettered],
  'webhook-receiver-gone': ['ticket', webhookReceiverGone],
  'tokens-expiring': ['ticket', tokensExpiring],
  'erasure-behind': ['ticket', erasureBehind],
  'retention-behind': ['ticket', retentionBehind],
  'clock-wrong': ['ticket', clockWrong],
  'log-lines-lost': ['ticket', logLinesLost],
};

/** The names of all findings that the stored state can show. */
export const FINDING_NAMES: readonly string[] = Object.keys(CHECKS);

/** Returns what needs a person, what customers notice first. */
export function findingsOf(state: StoredState): Finding[] {
  return Object.entries(CHECKS).flatMap(([name, [severity, check]]) => {
    const text = check(state);
    return text === undefined ? [] : [finding(name, severity, text)];
  });
}

/** Returns the text if there are any of them. */
const of = <One>(found: readonly One[], text: (found: readonly One[]) => string) =>
  found.length > 0 ? text(found) : undefined;
const nameOf = ({ name }: { readonly name: string }) => name;
const hosts = (replicas: readonly Replica[]) => names(replicas.map(({ host }) => host));

function serviceDown(state: StoredState) {
  if (liveReplicas(state).length > 0) return undefined;
  return `no replica has been seen for ${T.replicaSeenSeconds} s`;
}

function databaseFull(state: StoredState) {
  const full = liveReplicas(state).filter(({ state }) => (state.database_errors?.disk_full ?? 0) > 0);
  return of(
    full,
    () => `PostgreSQL reported a full disk within 5 min; the database has ${size(state.database.sizeBytes)}`,
  );
}

function standbyGone({ database }: StoredState) {
  const wanted = standbysWanted(database.synchronousStandbyNames);
  // A role that may not see which of them are standbys sees how many there are at most.
  const there = database.synchronousStandbys ?? database.walSenders;
  if (!database.isPrimary || there >= wanted) return undefined;
  return `commits wait for ${count(wanted, 'synchronous standby')}, and ${there} of them stream`;
}

function eventsNotPublished({ events }: StoredState) {
  if (events.oldestSeconds <= T.eventsLagSeconds) return undefined;
  return `${count(events.waiting, 'event')} not published, the oldest for ${duration(events.oldestSeconds)}`;
}

function databaseSlow(state: StoredState) {
  const slow = liveReplicas(state).filter(
    ({ state: { pool, database_errors } }) =>
      (pool?.waiting ?? 0) >= T.poolWaiting || (database_errors?.timeout ?? 0) >= T.databaseTimeouts,
  );
  return of(slow, () => `requests wait for connections of the database, or it timed out: ${hosts(slow)}`);
}

function listenerDisconnected(state: StoredState) {
  const lost = liveReplicas(state).filter(({ state: { listener } }) => {
    const since = listener?.disconnected_since;
    return since !== undefined && state.readAt.getTime() - Date.parse(since) > T.listenerDisconnectedSeconds * 1_000;
  });
  return of(lost, () => `replicas without notifications: ${hosts(lost)}`);
}

const isFailing = (failed: number, calls: number) => failed >= T.failedCalls && failed >= calls * T.failedCallsShare;

function cpoNotAnswering({ called, circuits }: StoredState) {
  const silent = called.filter(({ notAnswered, calls }) => isFailing(notAnswered, calls));
  // 5xx open a circuit, too.
  const failing = new Set(failingOf(called).map(({ id }) => id));
  const opened = circuits.filter(({ id }) => !failing.has(id));
  const all = new Set([...opened, ...silent].map(nameOf));
  return of([...all], (all) => `calls got no answer, or the circuit is open: ${names(all)}`);
}

const failingOf = (called: StoredState['called']) => called.filter(({ failed, calls }) => isFailing(failed, calls));

function cpoFailing({ called }: StoredState) {
  const failing = failingOf(called);
  return of(
    failing,
    () => `calls were answered 5xx, 401, 403 or with an invalid response: ${names(failing.map(nameOf))}`,
  );
}

function cpoAtDayLimit({ atLimit }: StoredState) {
  const found = atLimit.filter(({ at24H }) => at24H);
  return of(found, () => `has used up the incorrect codes of 24 hours: ${names(found.map(nameOf))}`);
}

function codesGuessed({ atLimit }: StoredState) {
  const found = atLimit.filter(({ at10Min }) => at10Min);
  return of(found, () => `has used up the incorrect codes of 10 minutes: ${names(found.map(nameOf))}`);
}

function codeSpaceShort({ codes }: StoredState) {
  const used = codes.filter(({ usedRatio }) => usedRatio >= T.codeSpaceUsed);
  if (used.length < T.codeLengthsUsed) return undefined;
  const ratios = used.map(({ length, usedRatio }) => `${length} digits ${percent(usedRatio)}`);
  return `so many codes are active that customers type longer ones: ${ratios.join(', ')}`;
}

function outboxGrowing({ outbox: { waiting, oldestSeconds } }: StoredState) {
  if (oldestSeconds <= T.outboxOldestSeconds && waiting < T.outboxWaiting) return undefined;
  return `${count(waiting, 'notification')} of CPOs wait, the oldest for ${duration(oldestSeconds)}`;
}

function notificationsDeadLettered({ outbox: { deadLettered } }: StoredState) {
  return deadLettered === 0 ? undefined : `${count(deadLettered, 'notification')} of CPOs dead-lettered`;
}

/** Receivers that were disabled by the service stay until their app enables or deletes them. */
function webhookReceiverGone({ endpoints }: StoredState) {
  const gone = endpoints.filter(({ status, disabledReason, failingSeconds }) =>
    status === 'enabled'
      ? (failingSeconds ?? 0) > T.webhookFailingSeconds
      : disabledReason === 'failing' || disabledReason === 'gone',
  );
  return of(
    gone,
    () =>
      `webhook endpoints fail, or were disabled for it: ${names(gone.map(({ appName, id }) => `${appName} ${id}`))}`,
  );
}

function tokensExpiring({ tokens }: StoredState) {
  const soon = tokens.filter(({ expiresInSeconds }) => expiresInSeconds < T.tokenExpiresSeconds);
  return of(soon, () => `tokens expire within 7 days: ${names(soon.map(({ role, owner }) => `${role} ${owner}`))}`);
}

function erasureBehind({ erasures: { waiting, oldestSeconds } }: StoredState) {
  if (oldestSeconds <= T.erasureOldestSeconds) return undefined;
  return `${count(waiting, 'pairing')} of forgotten users not erased, the oldest for ${duration(oldestSeconds)}`;
}

function retentionBehind({ backlog }: StoredState) {
  const behind = backlog.filter(({ rows }) => rows >= T.retentionRows);
  return of(
    behind,
    () => `${T.retentionRows} rows or more that should be deleted: ${names(behind.map(({ table }) => table))}`,
  );
}

function clockWrong(state: StoredState) {
  const wrong = liveReplicas(state).filter(
    ({ state: { clock_offset_seconds = 0 } }) => Math.abs(clock_offset_seconds) > T.clockOffsetSeconds,
  );
  const shown = wrong.map(({ host, state }) => `${host} ${state.clock_offset_seconds} s`);
  return of(wrong, () => `clocks differ from the database's: ${names(shown)}`);
}

function logLinesLost(state: StoredState) {
  const lost = liveReplicas(state).filter(({ state: { log_lines_lost = 0 } }) => log_lines_lost > 0);
  return of(lost, () => `log lines were lost within 5 min: ${hosts(lost)}`);
}
