import type { Context } from '../context';
import { CODES_CHANNEL, type Code, readCode } from './codes';

/** Sets how often a code is read while the listener is disconnected. */
const DISCONNECTED_POLL_MS = 500;

/**
 * Waits until a code's status is final, `waitSeconds` have passed or the signal aborts. Subscribes before the first
 * read, so that no change is missed.
 * @param signal belongs to this request alone: on Node 20, `AbortSignal.any` leaks entries in a long-lived source
 * @returns the code's current state
 * @throws Problem `not-found`, also if the code's user is forgotten meanwhile
 */
export async function watchCode(
  ctx: Pick<Context, 'listener' | 'db'>,
  id: string,
  waitSeconds: number,
  signal: AbortSignal,
): Promise<Code> {
  const until = performance.now() + waitSeconds * 1000;
  let notified = false;
  let wake = () => {};
  const notify = () => {
    notified = true;
    wake();
  };
  const unsubscribe = ctx.listener.on(CODES_CHANNEL, notify, id);
  signal.addEventListener('abort', notify, { once: true });
  try {
    for (;;) {
      notified = false;
      const { code, expiresInMs } = await readCode(ctx, id);
      const remaining = until - performance.now();
      if (code.status !== 'active' || remaining <= 0 || signal.aborted) return code;
      const pollAfter = ctx.listener.connected ? remaining : DISCONNECTED_POLL_MS;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(remaining, expiresInMs + 1, pollAfter));
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
