import type { ServerResponse } from 'node:http';
import type { Response } from 'express';
import { Problem } from '../problems';

/** Why a signal is aborted; without a reason Node makes an error, with its stack, each time. */
const OVER = 'over';

/** Only of requests that wait: a controller costs as much as the rest of a small request. */
const waits = new WeakMap<ServerResponse, AbortController>();

/**
 * Returns a signal that is aborted when a request must not wait any longer: its caller has closed the connection, or its
 * half of it and may be gone for good (`http/connections`), its token was revoked, or the service stops (`http/long-polls`).
 */
export function waitSignal(res: ServerResponse): AbortSignal {
  const { socket } = res.req;
  const wait = waits.get(res) ?? new AbortController();
  waits.set(res, wait);
  if (socket.readableEnded || disconnected(res)) wait.abort(OVER);
  return wait.signal;
}

/** Ends the waiting of a request, if it waits. */
export function endWait(res: ServerResponse): void {
  waits.get(res)?.abort(OVER);
}

/** Whether a response has been sent, or can no longer be sent. */
export function disconnected(res: ServerResponse): boolean {
  return res.closed || res.req.socket.destroyed;
}

/**
 * Checks the token of a request, and its CPO, once more. Call it after anything that waits, before anything is changed
 * or answered.
 * @throws Problem `invalid-token`, `cpo-suspended`, `unavailable`
 */
export async function stillAllowed(res: Response): Promise<void> {
  await res.locals.stillAllowed?.();
}

/** For the failure of something that waited: a caller who is not allowed any more gets the 401 or 403 instead. */
export function unlessRefused(res: Response): (error: unknown) => Promise<never> {
  return async (error) => {
    // The database does not answer: asking it again would only take longer.
    if (!(error instanceof Problem && error.type === 'unavailable')) await stillAllowed(res);
    throw error;
  };
}
