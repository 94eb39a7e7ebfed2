import { rows } from '../db/query';
import { names as firstOf } from '../status/words';
import type { Followed } from './follow';
import type { Case, CaseAttempt, CaseCode, CaseContext, CasePairing } from './found';
import { idsBetween } from './id-range';

/** The names of CPOs by their ids. */
export type Names = ReadonlyMap<string, string>;

/** For so long it can be told which code an incorrect attempt sent. */
const TOLD_FOR_HOURS = 25;
/** How many attempts of each CPO are read to count them. */
const READ = 10_000;

/** Reads each CPO's range of the primary key. */
const SENT_MEANWHILE = `
select coalesce(sum(a.unknown), 0)::int as unknown, coalesce(sum(a.unchecked), 0)::int as unchecked,
  coalesce(bool_or(a.read = ${READ}), false) as "areMore", now() - $3 > interval '${TOLD_FOR_HOURS} hours' as "isOld"
from cpos c cross join lateral (
  select count(*) as read, count(*) filter (where reason = 'unknown') as unknown,
    count(*) filter (where reason is null and outcome not in ('paired', 'station-already-paired')) as unchecked
  from (
    select reason, outcome from attempts
    where cpo_id = c.id and id between $1 and $2 and attempted_at between $3 and $4 limit ${READ}
  ) a
) a
where $5::uuid is null or c.id = $5`;

type SentMeanwhile = {
  /** Attempts with codes that were never issued: one of them may be a mistyped code. */
  readonly unknown: number;
  /** Attempts that were refused before their code was looked up. */
  readonly unchecked: number;
  /** Whether there are more attempts than were read. */
  readonly areMore: boolean;
  /** Whether it can no longer be told which attempts sent the code. */
  readonly isOld: boolean;
};

/** Counts the attempts while a code was valid, of its CPO if it is for one, that may have been meant for it. */
async function sentMeanwhile({ db }: CaseContext, code: CaseCode): Promise<SentMeanwhile> {
  const { createdAt, expiresAt, endedAt, cpoId } = code;
  const until = endedAt !== null && endedAt < expiresAt ? endedAt : expiresAt;
  const { from_id, until_id } = idsBetween(createdAt, until);
  const [found] = await rows<SentMeanwhile>(db, SENT_MEANWHILE, [from_id, until_id, createdAt, until, cpoId]);
  return found ?? { unknown: 0, unchecked: 0, areMore: false, isOld: true };
}

const at = (time: Date) => time.toISOString();

/** Says in one line what lasts now: the pairings and codes that are active. */
export function presentState({ codes, pairings }: Case, names: Names): string {
  const lasting = pairings.filter(({ endedAt }) => endedAt === null);
  const active = codes.filter(({ status }) => status === 'active');
  const states = [
    ...lasting.map(
      ({ uid, cpoId, pairedAt }) => `station ${uid} paired with ${nameOf(names, cpoId)} since ${at(pairedAt)}`,
    ),
    ...active.map(({ id, expiresAt }) => `code ${id} valid until ${at(expiresAt)}`),
  ];
  return firstOf(states) || 'no active code, no paired station';
}

/**
 * Says in a few plain sentences what most likely explains a complaint, by what is stored and nothing else: about the latest code if
 * there is one, else about the latest attempt, else about the latest pairing.
 */
export async function explain(ctx: CaseContext, found: Case, followed: Followed, names: Names): Promise<string> {
  const [code] = found.codes;
  const [attempt] = found.attempts;
  const [pairing] = found.pairings;
  const isLatest = (one: CaseAttempt, than: CaseCode) => one.attemptedAt >= than.createdAt;
  if (
    found.key.request !== undefined ||
    code === undefined ||
    (found.key.uid !== undefined && attempt && isLatest(attempt, code))
  ) {
    const explainedByPairing =
      found.key.request === undefined && attempt?.outcome === 'paired' && pairing !== undefined;
    if (attempt !== undefined && !explainedByPairing) return ofAttempt(attempt, names);
    if (pairing !== undefined) return ofPairing(pairing, names);
    if (found.key.user !== undefined) return 'No code of this user is stored.';
    return found.key.uid === undefined
      ? 'No attempt to pair has this request id. The log of the service has the line of every request.'
      : 'No CPO has sent this uid while attempts were kept.';
  }
  return ofCode(ctx, code, found, followed, names);
}

async function ofCode(
  ctx: CaseContext,
  code: CaseCode,
  found: Case,
  followed: Followed,
  names: Names,
): Promise<string> {
  const paired = found.pairings.find(({ codeId }) => codeId === code.id);
  if (paired !== undefined) return `Code ${code.id} was used. ${ofPairing(paired, names)}`;
  const fate = fateOf(code, followed);
  const refused = followed.events.find(({ type, codeId }) => type === 'pairing.refused' && codeId === code.id);
  if (refused !== undefined)
    return `${fate} ${nameOf(names, refused.cpoId)} sent it at ${at(refused.occurredAt)} for a station that was already paired: that station must be unpaired first.`;
  const sent = found.attempts.filter(({ codeId }) => codeId === code.id).at(-1);
  if (sent !== undefined) return `${fate} ${sentIncorrectly(sent, code, names)}`;
  const { unknown, unchecked, areMore, isOld } = await sentMeanwhile(ctx, code);
  const sender = code.cpoId === null ? 'CPOs' : nameOf(names, code.cpoId);
  const atLeast = areMore ? 'at least ' : '';
  const others = [
    ...(unknown > 0
      ? [
          `While it was valid, ${sender} sent ${atLeast}${unknown} codes that were never issued: it may have been mistyped, which cannot be told.`,
        ]
      : []),
    ...(unchecked > 0
      ? [
          `Requests of ${sender} that were refused before their code was looked up while it was valid: ${atLeast}${unchecked}. It may have been in one of them.`,
        ]
      : []),
  ];
  const isKnown = unchecked === 0 && !areMore;
  if (code.status === 'active') return [fate, isKnown ? 'No CPO has sent it yet.' : NOT_RECORDED, ...others].join(' ');
  return [
    fate,
    isKnown ? 'No attempt with it was recorded: the CPO never sent it while it was valid.' : NOT_RECORDED,
    ...(isOld ? [`Whether it was sent later is known for ${TOLD_FOR_HOURS} hours only.`] : []),
    ...others,
  ].join(' ');
}

const NOT_RECORDED = 'No attempt with it was recorded.';

/** Says what became of a code. */
function fateOf({ id, status, expiresAt, endedAt }: CaseCode, { events }: Followed): string {
  if (status === 'active') return `Code ${id} is valid until ${at(expiresAt)}.`;
  if (status === 'expired') return `Code ${id} expired at ${at(expiresAt)}.`;
  const by = events.find(({ codeId, replacedBy }) => codeId === id && replacedBy !== null)?.replacedBy;
  const replaced = by == null ? '' : `, because code ${by} replaced it`;
  return `Code ${id} was ${status} at ${at(endedAt ?? expiresAt)}${replaced}.`;
}

const REASONS: Readonly<Record<string, string>> = {
  expired: 'after it had expired',
  cancelled: 'after it had been cancelled',
  used: 'after it had been used',
};

function sentIncorrectly({ cpoId, attemptedAt, uid, reason }: CaseAttempt, code: CaseCode, names: Names): string {
  const why =
    reason === 'other-cpo' ? `but only ${nameOf(names, code.cpoId)} can use it` : (REASONS[reason ?? ''] ?? 'in vain');
  return `${nameOf(names, cpoId)} sent it at ${at(attemptedAt)} for station ${uid}, ${why}.`;
}

function ofPairing({ uid, cpoId, pairedAt, endedAt, endedBy }: CasePairing, names: Names): string {
  const began = `${nameOf(names, cpoId)} paired station ${uid ?? '(erased)'} at ${at(pairedAt)}`;
  return endedAt === null
    ? `${began}, and it is still paired.`
    : `${began}; the ${endedBy} unpaired it at ${at(endedAt)}.`;
}

const OUTCOMES: Readonly<Record<string, string>> = {
  paired: 'it was paired',
  'station-already-paired': 'it was already paired, and must be unpaired first',
  'too-many-incorrect-codes': 'too many incorrect codes had been sent, so that this one was not looked up',
};

function ofAttempt({ cpoId, uid, attemptedAt, outcome, reason, codeId }: CaseAttempt, names: Names): string {
  const code = codeId === undefined ? 'the code' : `code ${codeId}`;
  const result =
    outcome === 'incorrect-code'
      ? `${code} was incorrect (${reason ?? 'unknown reason'})`
      : (OUTCOMES[outcome] ?? `the answer was ${outcome}`);
  return `The latest attempt was by ${nameOf(names, cpoId)} at ${at(attemptedAt)} for station ${uid ?? '(none)'}: ${result}.`;
}

const nameOf = (names: Names, cpoId: string | null) => (cpoId === null ? 'a CPO' : (names.get(cpoId) ?? cpoId));
