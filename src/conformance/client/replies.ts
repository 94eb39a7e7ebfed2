import { type ProblemType, problems } from '../../contract/problem-types';
import type { Times } from './times';

/** What the kit answers. `withheld`: nothing, and the connection is closed after `delayMs`. */
export type Reply = {
  readonly status: number;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
  readonly delayMs?: number;
  readonly withheld?: true;
  readonly hasOtherMessage?: true;
  readonly hasNewMembers?: true;
};

/** A pair request whose code and `uid` could be read. `station` has the one member that describes it. */
export type PairRequest = {
  readonly code: string;
  readonly uid: string;
  readonly path: string;
  readonly protocol: string;
  readonly keyHash: string | undefined;
  readonly station: object;
};

type Pairing = { readonly code: string; readonly keyHash: string | undefined; readonly protocol: string };

const PAIRED = 'Charging station successfully paired.';
export const OTHER_MESSAGE = 'This text is another one on purpose. It is for people.';
export const NEW_MEMBERS = { added_later: { since: 'a later version', list: [1, null] } };

/** Returns an error response (contract, section 7). */
export function problemReply(type: ProblemType, headers: Reply['headers'] = {}, more: object = {}): Reply {
  const [status, title, message] = problems[type];
  return { status, headers, body: { message, type: `/problems/${type}`, title, status, ...more } };
}

/** Creates the behaviour of the kit: what it answers to each code, and which stations are paired. */
export function createReplies(times: Times) {
  const pairings = new Map<string, Pairing & { uid: string; pairedAt: string }>();
  const unavailableOnce = new Set<string>();
  const at = (uid: string) => uid.toLowerCase();

  const pair = ({ uid, code, keyHash, protocol, station }: PairRequest, reply: Partial<Reply> = {}): Reply => {
    const { hasOtherMessage, hasNewMembers } = reply;
    const kind = { ...(hasOtherMessage && { hasOtherMessage }), ...(hasNewMembers && { hasNewMembers }) };
    const existing = pairings.get(at(uid));
    const replayed = existing !== undefined && keyHash !== undefined && existing.keyHash === keyHash;
    if (existing !== undefined && !(replayed && existing.code === code)) return problemReply('station-already-paired');
    if (!replayed && code.startsWith('1') && [...pairings.values()].some((pairing) => pairing.code === code))
      return problemReply('incorrect-code');
    if (!replayed) pairings.set(at(uid), { uid, code, keyHash, protocol, pairedAt: new Date().toISOString() });
    const message = hasOtherMessage ? OTHER_MESSAGE : PAIRED;
    const body = { message, ...station, ...(hasNewMembers && NEW_MEMBERS) };
    return { status: 200, body, ...(replayed ? { ...kind, headers: { 'Idempotent-Replayed': 'true' } } : reply) };
  };

  return {
    isPaired: (uid: string) => pairings.has(at(uid)),

    /** Answers a pair request by its code. The meaning of a code does not depend on the order of requests. */
    pair(request: PairRequest): Reply {
      const { code, uid, path } = request;
      switch (code) {
        case '000400':
          return problemReply('invalid-request', {}, { errors: [{ pointer: '/code', message: 'is an example' }] });
        case '000409':
          return problemReply('station-already-paired');
        case '000414':
          return { ...problemReply('incorrect-code', {}, { message: OTHER_MESSAGE }), hasOtherMessage: true };
        case '000429':
          return problemReply('too-many-incorrect-codes', { 'Retry-After': String(times.retryAfter429S) });
        case '000500':
          return problemReply('internal-error');
        case '000307':
          return { status: 307, headers: { Location: `/elsewhere${path}` } };
        case '000503':
          if (unavailableOnce.has(at(uid))) return pair(request);
          unavailableOnce.add(at(uid));
          return problemReply('unavailable', { 'Retry-After': String(times.retryAfter503S) });
        case '000504':
          return pair(request, { withheld: true, delayMs: times.withheldMs });
        case '000200':
          return pair(request, { delayMs: times.slowMs });
        case '100001':
          return pair(request, { hasNewMembers: true });
        case '100002':
          return pair(request, { hasOtherMessage: true });
        default:
          return /^(012345|1\d{5})$/.test(code) ? pair(request) : problemReply('incorrect-code');
      }
    },

    unpair(uid: string): Reply {
      unavailableOnce.delete(at(uid));
      if (!pairings.delete(at(uid))) return problemReply('unknown-station');
      return { status: 200, body: { message: 'Charging station successfully unpaired.' } };
    },

    list(): Reply {
      const items = [...pairings.values()].map(({ uid, protocol, pairedAt }) => ({
        uid,
        payload_protocol: protocol,
        paired_at: pairedAt,
      }));
      return { status: 200, body: { items, next_cursor: null } };
    },
  };
}
