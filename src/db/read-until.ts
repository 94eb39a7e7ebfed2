import type { Listener } from './listener';

/** Sets how often is read while the listener is disconnected. */
const DISCONNECTED_POLL_MS = 500;

/** What was read, whether to stop waiting for it to change, and when to read again without a notification. */
export type Reading<T> = { readonly value: T; readonly final: boolean; readonly againInMs?: number };

/**
 * Reads until the result is final, `waitSeconds` have passed or the signal aborts; reads again at each notification. Subscribes
 * before the first read, so that no change is missed.
 * @param signal belongs to this request alone: on Node 20, `AbortSignal.any` leaks entries in a long-lived source
 * @returns the last value read
 */
export async function readUntil<T>(
  listener: Listener,
  { channel, payload }: { readonly channel: string; readonly payload?: string },
  read: () => Promise<Reading<T>>,
  waitSeconds: number,
  signal: AbortSignal,
): Promise<T> {
  const until = performance.now() + waitSeconds * 1000;
  let notified = false;
  let wake = () => {};
  const notify = () => {
    notified = true;
    wake();
  };
  const unsubscribe = listener.on(channel, notify, payload);
  signal.addEventListener('abort', notify, { once: true });
  try {
    for (;;) {
      notified = false;
      const { value, final, againInMs = Number.POSITIVE_INFINITY } = await read();
      const remaining = until - performance.now();
      if (final || remaining <= 0 || signal.aborted) return value;
      const pollAfter = listener.connected ? remaining : DISCONNECTED_POLL_MS;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(remaining, againInMs, pollAfter));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (notified) wake();
      });
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', notify);
  }
}
