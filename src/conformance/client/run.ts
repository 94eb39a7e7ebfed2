import { setTimeout as sleep } from 'node:timers/promises';
import { endOf } from './episodes';
import { type ClientCheckResult, judge } from './judge';
import type { ClientKit } from './kit';
import type { ObservedRequest } from './observed';
import type { Times } from './times';

export type RunOptions = {
  readonly times: Times;
  /** The run ends after this long at the latest, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the run. */
  readonly stop: AbortSignal;
  /** Called when the verdict of a check is known, and when it changes. */
  onVerdict?(result: ClientCheckResult, open: number): unknown;
};

const INTERVAL_MS = 50;

/** Returns from when on a request has no repetition that it may have. */
const quietFrom = (request: ObservedRequest) => endOf(request) + (request.answer?.retryAfterS ?? 0) * 1_000;

/**
 * Judges the caller until every check has a verdict and the caller has been quiet for a while. Returns the results, those
 * without a verdict as `not_run`, and whether anybody called.
 */
export async function runClientKit(
  kit: Pick<ClientKit, 'requests'>,
  { times, timeoutMs, stop, onVerdict }: RunOptions,
): Promise<{ results: ClientCheckResult[]; called: boolean }> {
  const deadline = performance.now() + timeoutMs;
  const known = new Map<string, string>();
  for (;;) {
    const now = Date.now();
    const requests = kit.requests();
    const results = judge(requests, now, times);
    for (const result of results) {
      if (result.verdict !== 'not_run' && known.get(result.id) !== result.verdict)
        onVerdict?.(result, results.filter(({ verdict }) => verdict === 'not_run').length);
      known.set(result.id, result.verdict);
    }
    const isQuiet = requests.every((request) => quietFrom(request) + times.quietMs <= now);
    const isDone = isQuiet && results.every(({ verdict }) => verdict !== 'not_run');
    if (isDone || stop.aborted || performance.now() >= deadline)
      return { results, called: requests.some(({ operation }) => operation !== 'other') };
    await sleep(INTERVAL_MS, undefined, { signal: stop }).catch(() => undefined);
  }
}
