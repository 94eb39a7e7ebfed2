import type { ServerResponse } from 'node:http';

/** Why a signal is aborted; without a reason Node makes an error, with its stack, each time. */
const LEFT = 'left';

/** Of those that wait for it only: a controller costs as much as the rest of a small request. */
const departures = new WeakMap<ServerResponse, AbortController>();

/**
 * Aborted when the caller of a request cannot be answered any more, or has closed its half of the connection and may
 * be gone for good; `http/connections` sees it.
 */
export function callerLeft(res: ServerResponse): AbortSignal {
  const { socket } = res.req;
  const departure = departures.get(res) ?? new AbortController();
  departures.set(res, departure);
  if (socket.readableEnded || socket.destroyed || res.closed) departure.abort(LEFT);
  return departure.signal;
}

/** Tells whoever works for the caller of a request that it has left. */
export function tellLeft(res: ServerResponse): void {
  departures.get(res)?.abort(LEFT);
}
