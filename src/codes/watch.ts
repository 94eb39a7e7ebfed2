import type { Context } from '../context';
import { CODES_CHANNEL, type Code, readCode } from './codes';

/** How often a code is read again while notifications are lost. */
const DISCONNECTED_POLL_MS = 500;

/**
 * Waits until a code's status is final, `waitSeconds` have passed or the waiting is `over`: subscribe, read, wait, read
 * again, so that no change falls between two steps.
 * @param over a signal of this request alone: what is added to a longer-lived one by `AbortSignal.any` stays there for ever
 * @returns the code's state at that moment
 * @throws Problem `not-found`, also for a code whose user is forgotten meanwhile
 */
export async function watchCode(
  ctx: Pick<Context, 'listener' | 'db'>,
  id: string,
  waitSeconds: number,
  over: AbortSignal,
): Promise<Code> {
  const until = performance.now() + waitSeconds * 1000;
  let rung = false;
  let wake = () => {};
  const notify = () => {
    rung = true;
    wake();
  };
  const unsubscribe = ctx.listener.on(CODES_CHANNEL, notify, id);
  over.addEventListener('abort', notify, { once: true });
  try {
    for (;;) {
      rung = false;
      const { code, expiresInMs } = await readCode(ctx, id);
      const remaining = until - performance.now();
      if (code.status !== 'active' || remaining <= 0 || over.aborted) return code;
      const quiet = ctx.listener.connected ? remaining : DISCONNECTED_POLL_MS;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(remaining, expiresInMs + 1, quiet));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (rung) wake();
      });
    }
  } finally {
    unsubscribe();
    over.removeEventListener('abort', notify);
  }
}
