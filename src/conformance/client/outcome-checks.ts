import { type ClientCheck, type Finding, OPEN } from './client-check';
import { endOf } from './episodes';
import type { ObservedAnswer, ObservedRequest } from './observed';
import { findFinal, findIncorrectFinal, isTestPair, latestEpisode } from './repeat-checks';
import type { Times } from './times';

/** Returns the first unpair of the same station after a request. */
function unpairAfter(requests: readonly ObservedRequest[], { at, uid }: ObservedRequest): ObservedRequest | undefined {
  return requests.find(
    (request) => request.operation === 'unpair' && request.at > at && request.uid?.toLowerCase() === uid?.toLowerCase(),
  );
}

/** Finds whether the caller has taken an answer as success: only then does it know a station that it can unpair. */
function findTakenAsSuccess(
  requests: readonly ObservedRequest[],
  now: number,
  { patienceMs }: Times,
  paired: ObservedRequest,
): Finding {
  const unpair = unpairAfter(requests, paired);
  if (unpair !== undefined) return { state: 'kept', request: unpair };
  if (now < endOf(paired) + patienceMs) return { state: 'open', needs: `the unpair of ${paired.uid}` };
  const note = `${paired.uid} was not unpaired: the caller seems not to know that it is paired`;
  return { state: 'broken', request: paired, note };
}

/** Finds whether the caller has taken the latest 200 of this kind as success. */
function findSuccess(
  requests: readonly ObservedRequest[],
  now: number,
  times: Times,
  isKind: (answer: ObservedAnswer) => boolean,
): Finding {
  const isFirst = (first: ObservedRequest) => isTestPair(first) && first.answer?.status === 200 && isKind(first.answer);
  const final = findFinal(requests, now, times, isFirst);
  return final.state === 'kept' ? findTakenAsSuccess(requests, now, times, final.request) : final;
}

/** Finds whether the caller takes a 404 with another message as it takes one with the message of the contract. */
function findIncorrectAlike(requests: readonly ObservedRequest[], now: number, times: Times): Finding {
  const other = findFinal(
    requests,
    now,
    times,
    (first) => isTestPair(first) && first.answer?.status === 404 && first.answer.hasOtherMessage === true,
  );
  if (other.state !== 'broken') return other;
  const usual = findIncorrectFinal(requests, now, times);
  if (usual.state === 'kept') return other;
  if (usual.state === 'open') return { state: 'open', needs: usual.needs ?? 'a pair request with the code 000404' };
  // Both were repeated, so the message did not matter.
  return { state: 'kept', request: other.request };
}

/** Finds what came of an answer that was lost. */
function findAfterLoss(
  requests: readonly ObservedRequest[],
  now: number,
  times: Times,
  [first, second, third]: readonly ObservedRequest[],
): Finding {
  if (first === undefined) return OPEN;
  if (second === undefined) {
    const list = requests.find(({ operation, at }) => operation === 'list' && at > first.at);
    if (list !== undefined) return { state: 'kept', request: list };
    if (now < endOf(first) + times.patienceMs) return { state: 'open', needs: 'the same request again' };
    return { state: 'broken', request: first, note: 'the request was not repeated' };
  }
  if (first.keyHash !== second.keyHash)
    return { state: 'broken', request: second, note: 'the repetition did not have the same Idempotency-Key' };
  if (first.keyHash !== undefined) return { state: 'kept', request: second };
  if (third !== undefined)
    return { state: 'broken', request: third, note: 'the 409 after the lost answer was not taken as success' };
  if (second.answer === undefined) return OPEN;
  return findTakenAsSuccess(requests, now, times, second);
}

/** The rules for how a caller takes an answer, or none. */
export const outcomeChecks: readonly ClientCheck[] = [
  {
    id: 'client-lost-answer',
    title: 'After a lost answer the request is repeated with the same Idempotency-Key, or a 409 is taken as success',
    level: 'required',
    clause:
      'The same request sent again after it succeeded is replayed under its Idempotency-Key, and 409 without one.',
    operation: 'pairOcpp',
    remedy:
      'Keep the Idempotency-Key with the request until there is an answer: the first request may have paired the station. Without a key take a 409 as success. Unpair the station before you do the step again.',
    needs: 'a pair request with the code 000504',
    find(requests, now, times) {
      const isLost = (first: ObservedRequest) => isTestPair(first) && first.answer?.outcome === 'withheld';
      return findAfterLoss(requests, now, times, latestEpisode(requests, times.repeatMs, isLost));
    },
  },
  {
    id: 'client-waits-10-s',
    title: 'The caller waits for an answer that takes 9 s',
    level: 'required',
    clause: 'The service may take up to 10 s: wait for longer.',
    operation: 'pairOcpp',
    remedy: 'Set the time-out of your client to more than 10 s, for example 15 s.',
    needs: 'a pair request with the code 000200',
    find(requests, _now, { slowMs }) {
      const isSlow = ({ answer }: ObservedRequest) =>
        answer?.outcome !== 'withheld' && (answer?.delayMs ?? 0) >= slowMs;
      const request = requests.findLast(isSlow);
      if (request?.answer === undefined) return OPEN;
      if (request.answer.outcome === 'sent') return { state: 'kept', request };
      const note = `the caller closed the connection after ${Math.round((endOf(request) - request.at) / 100) / 10} s`;
      return { state: 'broken', request, note };
    },
  },
  {
    id: 'client-no-redirect',
    title: 'No redirect is followed with the token',
    level: 'required',
    clause: 'The service never redirects an operation.',
    operation: 'pairOcpp',
    remedy:
      'Switch redirects off (redirect: "manual" in fetch). The service never redirects; who does may want your token.',
    needs: 'a pair request with the code 000307',
    find(requests, now, { quietMs }) {
      const redirect = requests.findLast(({ answer }) => answer?.status === 307);
      if (redirect === undefined) return OPEN;
      const followed = requests.find(({ operation, at }) => operation === 'redirected' && at >= redirect.at);
      if (followed !== undefined) {
        const note = followed.token === 'missing' ? 'without the token, but with the code' : 'with the token';
        return { state: 'broken', request: followed, note: `the redirect was followed ${note}` };
      }
      if (now < endOf(redirect) + quietMs) return { state: 'open', needs: `${quietMs / 1_000} s without a request` };
      return { state: 'kept', request: redirect };
    },
  },
  {
    id: 'client-new-members',
    title: 'Members that the caller does not know are ignored',
    level: 'required',
    clause: 'Later versions add members to answers.',
    operation: 'pairOcpp',
    remedy: 'Read the members that you need and ignore others: later versions add some.',
    needs: 'a pair request with the code 100001, then the unpair of its station',
    find: (requests, now, times) => findSuccess(requests, now, times, ({ hasNewMembers }) => hasNewMembers === true),
  },
  {
    id: 'client-message-not-parsed',
    title: 'What the caller does depends on status and type, not on message',
    level: 'required',
    clause: 'message is for people; status and type say what happened.',
    operation: 'pairOcpp',
    remedy: 'Decide by the HTTP status and, for a 404, 409 and 429, by type. message is for people; its text changes.',
    needs: 'pair requests with the codes 000414 and 100002, then the unpair of the station of 100002',
    find(requests, now, times) {
      const success = findSuccess(requests, now, times, ({ hasOtherMessage }) => hasOtherMessage === true);
      const incorrect = findIncorrectAlike(requests, now, times);
      const findings = [success, incorrect];
      return (
        findings.find(({ state }) => state === 'broken') ?? findings.find(({ state }) => state === 'open') ?? success
      );
    },
  },
];
