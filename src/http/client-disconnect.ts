import type { ServerResponse } from 'node:http';
import type { Response } from 'express';
import { Problem } from '../problems';

/** The reason for an abort: without one, Node creates an error with its stack each time. */
const REASON = 'wait ended';

/** For requests that wait, and no others: a controller costs as much as the rest of a small request. */
const waits = new WeakMap<ServerResponse, AbortController>();

/**
 * Returns a signal that is aborted when a request must not wait any longer: the client has closed the connection or its
 * half of it (`http/connections`), its token was revoked, or the service stops (`http/long-polls`).
 */
export function waitSignal(res: ServerResponse): AbortSignal {
  const wait = waits.get(res) ?? new AbortController();
  waits.set(res, wait);
  if (clientHasClosed(res)) wait.abort(REASON);
  return wait.signal;
}

/** Ends the wait of a request, if it waits. */
export function endWait(res: ServerResponse): void {
  waits.get(res)?.abort(REASON);
}

/** Returns whether the client has closed the connection, or its half of it: it does not wait for an answer any more. */
export function clientHasClosed(res: ServerResponse): boolean {
  return res.req.socket.readableEnded || disconnected(res);
}

/** Returns whether a response has been sent, or can no longer be sent. */
export function disconnected(res: ServerResponse): boolean {
  return res.closed || res.req.socket.destroyed;
}

/**
 * Checks the token of a request, and its CPO, again. Call it after everything that waits, before anything is changed or
 * answered.
 * @throws Problem `invalid-token`, `cpo-suspended`, `unavailable`
 */
export async function stillAllowed(res: Response): Promise<void> {
  await res.locals.stillAllowed?.();
}

/** Handles the failure of something that waited: a caller whose token is no longer valid gets the 401 or 403 instead. */
export function unlessRefused(res: Response): (error: unknown) => Promise<never> {
  return async (error) => {
    // The database does not respond, and would not now either.
    if (!(error instanceof Problem && error.type === 'unavailable')) await stillAllowed(res);
    throw error;
  };
}
