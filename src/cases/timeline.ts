import type { Followed } from './follow';
import type { Case, CaseAttempt, CaseCode } from './found';

/** An entry of a timeline. Undefined members do not apply. */
export type Entry = {
  readonly at: Date;
  readonly what: string;
  readonly cpoId?: string | undefined;
  readonly uid?: string | undefined;
  readonly codeId?: string | undefined;
  readonly pairingId?: string | undefined;
  readonly requestId?: string | undefined;
  readonly detail?: string | undefined;
};

const some = <T>(value: T | null | undefined) => value ?? undefined;
const words = (...parts: readonly (string | number | null | undefined)[]) =>
  parts.filter((part) => part !== null && part !== undefined && part !== '').join(', ') || undefined;

/** Merges everything about a case into one list, the oldest first. */
export function timelineOf(found: Case, followed: Followed): Entry[] {
  const published = new Map(followed.events.map((event) => [event.position, event]));
  const replaced = new Map(followed.events.map(({ codeId, replacedBy }) => [codeId, replacedBy]));
  const entries: Entry[] = [
    ...found.codes.flatMap((code) => ofCode(code, some(replaced.get(code.id)))),
    ...found.attempts.map(ofAttempt),
    ...found.redemptions.map(({ beganAt, outcome }) => ({
      ...{ at: beganAt, what: 'redemption of a CPO-issued code', detail: outcome ?? 'in progress' },
    })),
    ...found.pairings.flatMap(({ id, codeId, cpoId, uid, pairedAt, endedAt, endedBy }) => {
      const about = { pairingId: id, codeId: some(codeId), cpoId, uid: some(uid) };
      const paired = { at: pairedAt, what: 'paired', ...about };
      return endedAt === null
        ? [paired]
        : [paired, { at: endedAt, what: `unpaired by the ${words(endedBy)}`, ...about }];
    }),
    ...followed.notifications.map((one) => ({
      at: one.gaveUpAt ?? one.createdAt,
      what: one.gaveUpAt === null ? 'notification of the CPO waits' : 'notification of the CPO dead-lettered',
      ...{ pairingId: some(one.pairingId), cpoId: one.cpoId, uid: some(one.uid), requestId: some(one.requestId) },
      detail: words(
        `${one.attempts} attempts`,
        one.gaveUpAt === null ? `next at ${one.nextAttemptAt.toISOString()}` : undefined,
        one.lastError,
      ),
    })),
    ...followed.events.map((event) => ({
      at: event.occurredAt,
      what: `event ${event.type}`,
      ...{ pairingId: some(event.pairingId), codeId: some(event.codeId), cpoId: some(event.cpoId) },
      detail: words(event.reason, event.publishedAt === null ? 'not published yet' : undefined),
    })),
    ...followed.deliveries.flatMap((one) => {
      const event = published.get(one.position);
      if (event?.publishedAt == null) return [];
      const answer = one.lastError ?? (one.lastStatus === null ? undefined : `answered ${one.lastStatus}`);
      const about = { pairingId: some(event.pairingId), codeId: some(event.codeId) };
      const detail = words(`app ${one.app}`, `${one.attempts} attempts`, answer);
      return [{ at: event.publishedAt, what: `webhook ${one.status}: ${event.type}`, ...about, detail }];
    }),
    ...followed.calls.map(({ calledAt, cpoId, operation, requestId, status, outcome }) => ({
      at: calledAt,
      what: found.key.request === undefined ? 'call at that time' : 'call',
      ...{ cpoId, requestId, detail: words(operation, outcome, status) },
    })),
  ];
  return entries.sort((a, b) => a.at.getTime() - b.at.getTime());
}

function ofCode({ id, cpoId, status, createdAt, expiresAt, endedAt }: CaseCode, replacedBy?: string): Entry[] {
  const issued = { at: createdAt, what: 'code issued', codeId: id, cpoId: some(cpoId) };
  const valid = { ...issued, detail: `valid until ${expiresAt.toISOString()}` };
  if (status === 'active') return [valid];
  const detail = replacedBy && `replaced by ${replacedBy}`;
  return [valid, { at: endedAt ?? expiresAt, what: `code ${status}`, codeId: id, cpoId: some(cpoId), detail }];
}

function ofAttempt({ attemptedAt, cpoId, uid, requestId, codeId, outcome, reason, detail }: CaseAttempt): Entry {
  const what = reason === null ? `attempt: ${outcome}` : `attempt: ${outcome} (${reason})`;
  return { at: attemptedAt, what, cpoId, uid: some(uid), requestId, codeId, detail: some(detail) };
}
