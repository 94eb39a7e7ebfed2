import type { ObservedRequest } from './observed';

/**
 * Returns what requests have in common that ask for the same: the same code for the same station, or the unpair of the same
 * station. Codes of customers are not known here, so all pair requests with such codes for one station count as the same.
 */
const sameAs = ({ operation, protocol, uid, code }: ObservedRequest): string =>
  JSON.stringify([operation, protocol, uid?.toLowerCase(), code]);

/**
 * Groups requests into episodes: a request and its repetitions, the earliest first. The same request belongs to an episode until
 * `withinMs` after its last answer, and a pair request only until its station is unpaired.
 */
export function episodesOf(requests: readonly ObservedRequest[], withinMs: number): ObservedRequest[][] {
  const episodes: ObservedRequest[][] = [];
  /** The latest episode of each. In a sandbox deployment strangers send the requests: this must not take n² steps. */
  const latest = new Map<string, ObservedRequest[]>();
  for (const request of requests) {
    const same = sameAs(request);
    const episode = latest.get(same);
    const last = episode?.at(-1);
    const ended =
      last === undefined || endOf(last) + withinMs < request.at || isUnpairedBetween(requests, last, request);
    if (episode !== undefined && !ended) {
      episode.push(request);
      continue;
    }
    const begun = [request];
    episodes.push(begun);
    latest.set(same, begun);
  }
  return episodes;
}

function isUnpairedBetween(
  requests: readonly ObservedRequest[],
  pair: ObservedRequest,
  next: ObservedRequest,
): boolean {
  if (pair.operation !== 'pair') return false;
  return requests.some(
    ({ operation, uid, at }) =>
      operation === 'unpair' && at > pair.at && at < next.at && uid?.toLowerCase() === pair.uid?.toLowerCase(),
  );
}

/** Returns when a request was answered; infinity while it is under way. */
export function endOf({ answer }: ObservedRequest): number {
  return answer?.at ?? Number.POSITIVE_INFINITY;
}

/** Returns the latest of the requests that are the same: a caller that was mended is judged by what it does now. */
export function latestOfEach(requests: readonly ObservedRequest[]): ObservedRequest[] {
  const latest = new Map(requests.map((request) => [sameAs(request), request]));
  return requests.filter((request) => latest.get(sameAs(request)) === request);
}
