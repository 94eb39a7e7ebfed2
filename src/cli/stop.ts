import { once } from 'node:events';

/** Resolves when `work` ends or `stop` aborts, whichever is first. Work that ends because of `stop` has not failed. */
export async function untilStopped(stop: AbortSignal, work: Promise<void>): Promise<void> {
  const race = new AbortController();
  const stopped = stop.aborted ? undefined : once(stop, 'abort', { signal: race.signal }).catch(() => undefined);
  const ended = work.catch((error: unknown) => {
    if (!stop.aborted) throw error;
  });
  try {
    await Promise.race([ended, stopped]);
  } finally {
    race.abort();
  }
}

/**
 * Runs `work` with a signal that aborts at a deadline, or when `stop` aborts. The listener on `stop` is removed afterwards:
 * `AbortSignal.any` would keep an entry in it for each call.
 */
export async function withDeadline<T>(
  stop: AbortSignal,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort(stop.reason);
  const deadline = setTimeout(() => controller.abort(new Error(`no response within ${ms / 1_000} s`)), ms);
  stop.addEventListener('abort', abort);
  try {
    stop.throwIfAborted();
    return await work(controller.signal);
  } finally {
    clearTimeout(deadline);
    stop.removeEventListener('abort', abort);
  }
}
