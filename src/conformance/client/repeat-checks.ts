import { type ClientCheck, type Finding, OPEN, seconds } from './client-check';
import { endOf, episodesOf } from './episodes';
import type { ObservedRequest } from './observed';
import type { Times } from './times';

/** Returns whether a request is a pair request with a test code: repetitions of other codes cannot be recognised. */
export const isTestPair = ({ operation, code }: ObservedRequest) => operation === 'pair' && code !== undefined;

/** Returns the latest request of a kind and its repetitions. */
export function latestEpisode(
  requests: readonly ObservedRequest[],
  withinMs: number,
  isKind: (request: ObservedRequest) => boolean,
): readonly ObservedRequest[] {
  const episode = episodesOf(requests, withinMs).findLast((one) => one.some(isKind)) ?? [];
  return episode.slice(episode.findIndex(isKind));
}

/** Finds whether the request of this kind was final: kept when the caller was quiet after it. */
export function findFinal(
  requests: readonly ObservedRequest[],
  now: number,
  { quietMs, repeatMs }: Times,
  isKind: (request: ObservedRequest) => boolean,
): Finding {
  const [first, second] = latestEpisode(requests, repeatMs, isKind);
  if (first === undefined) return OPEN;
  if (second !== undefined)
    return {
      state: 'broken',
      request: second,
      note: `the request was repeated ${seconds(second.at - endOf(first))} after the ${first.answer?.status}`,
    };
  if (now < endOf(first) + quietMs) return { state: 'open', needs: `${quietMs / 1_000} s without a repetition` };
  return { state: 'kept', request: first };
}

/** Finds whether the 404 with the message of the contract was final. */
export const findIncorrectFinal = (requests: readonly ObservedRequest[], now: number, times: Times): Finding =>
  findFinal(
    requests,
    now,
    times,
    (first) => isTestPair(first) && first.answer?.status === 404 && !first.answer.hasOtherMessage,
  );

/** Finds whether `Retry-After` was honoured: a repetition may come later or never, but not earlier. */
function findRetryAfter(
  requests: readonly ObservedRequest[],
  now: number,
  { repeatMs, quietMs, toleranceMs }: Times,
  status: number,
): Finding {
  const episode = latestEpisode(requests, repeatMs, (one) => isTestPair(one) && one.answer?.status === status);
  const first = episode[0];
  if (first === undefined) return OPEN;
  const dueAfterMs = ({ answer }: ObservedRequest) => (answer?.retryAfterS ?? 0) * 1_000;
  for (const [index, request] of episode.entries()) {
    const before = episode[index - 1];
    if (before?.answer?.status !== status) continue;
    const pauseMs = request.at - endOf(before);
    if (pauseMs < dueAfterMs(before) - toleranceMs)
      return {
        state: 'broken',
        request,
        note: `the request was repeated ${seconds(pauseMs)} after a ${status} with Retry-After: ${before.answer.retryAfterS}`,
      };
  }
  if (episode.length > 1 || now >= endOf(first) + dueAfterMs(first) + quietMs) return { state: 'kept', request: first };
  return { state: 'open', needs: 'a repetition, or some time without one' };
}

/** The rules for what a caller may repeat, and when. */
export const repeatChecks: readonly ClientCheck[] = [
  {
    id: 'client-404-final',
    title: 'A 404 on pair is not repeated',
    level: 'required',
    clause: '404 is the same answer for every incorrect code, and it counts.',
    operation: 'pairOcpp',
    remedy:
      'Show the customer that the code is incorrect and let them type it again. Each incorrect code counts. If you did the step again yourself, wait 30 s between.',
    needs: 'a pair request with the code 000404',
    find: findIncorrectFinal,
  },
  {
    id: 'client-409-final',
    title: 'A 409 that says that the station is paired is not repeated',
    level: 'required',
    clause: '409: the uid is paired in the platform; the code is not used up.',
    operation: 'pairOcpp',
    remedy: 'Tell the customer that the station is paired already. It has to be unpaired first.',
    needs: 'a pair request with the code 000409',
    find: (requests, now, times) =>
      findFinal(
        requests,
        now,
        times,
        (first) => isTestPair(first) && first.answer?.status === 409 && first.answer.retryAfterS === undefined,
      ),
  },
  {
    id: 'client-unpair-404-final',
    title: 'A 404 on unpair is taken as done',
    level: 'required',
    clause: '404 on unpair: the station is not paired with this CPO.',
    operation: 'unpairChargingStation',
    remedy:
      'Mark the station as unpaired when type is /problems/unknown-station: there is nothing left to do, and nothing to repeat. Any other 404 says that the address is wrong.',
    needs: 'the unpair of a station that is not paired, for example KIT-13',
    find: (requests, now, times) =>
      findFinal(
        requests,
        now,
        times,
        ({ operation, uidEncoding, answer }) =>
          operation === 'unpair' && uidEncoding === 'once' && answer?.status === 404,
      ),
  },
  {
    id: 'client-retry-after-429',
    title: 'Retry-After is honoured at 429',
    level: 'required',
    clause: '429 has Retry-After.',
    operation: 'pairOcpp',
    remedy: 'Wait as many seconds as Retry-After says before you send the request again, or do not send it again.',
    needs: 'a pair request with the code 000429',
    find: (requests, now, times) => findRetryAfter(requests, now, times, 429),
  },
  {
    id: 'client-retry-after-503',
    title: 'Retry-After is honoured at 503',
    level: 'required',
    clause: '503 has Retry-After.',
    operation: 'pairOcpp',
    remedy: 'Wait as many seconds as Retry-After says before you send the request again.',
    needs: 'a pair request with the code 000503',
    find: (requests, now, times) => findRetryAfter(requests, now, times, 503),
  },
  {
    id: 'client-503-repeated',
    title: 'A 503 is repeated with the same Idempotency-Key',
    level: 'recommended',
    clause:
      'After a 503 it may be unknown whether the request was processed; the same Idempotency-Key makes the repetition safe.',
    operation: 'pairOcpp',
    remedy:
      'Send the same request with the same Idempotency-Key again: it may have been processed, and the customer still waits.',
    needs: 'a pair request with the code 000503',
    find(requests, now, { repeatMs, patienceMs }) {
      const [first, second] = latestEpisode(requests, repeatMs, (one) => isTestPair(one) && one.answer?.status === 503);
      if (first === undefined) return OPEN;
      if (second !== undefined && first.keyHash === undefined)
        return { state: 'broken', request: second, note: 'the request and its repetition had no Idempotency-Key' };
      if (second !== undefined && second.keyHash === first.keyHash) return { state: 'kept', request: second };
      if (second !== undefined)
        return { state: 'broken', request: second, note: 'the repetition had another Idempotency-Key' };
      if (now < endOf(first) + patienceMs) return { state: 'open', needs: 'the same request again' };
      return { state: 'broken', request: first, note: 'the request was not repeated' };
    },
  },
];
