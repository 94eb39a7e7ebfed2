import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { RequestHandler, Response } from 'express';

/** Who still sends so long after an answer is cut off; a reset at once could take the answer along. */
const LINGER_MS = 2_000;

/** The responses that a connection still waits for, in the order of their requests. */
const open = new WeakMap<Duplex, Set<Response>>();
/** Connections with an answer behind which nothing more is answered. */
const spoiled = new WeakSet<Duplex>();

/** Watches what becomes of a request's connection. */
export const watchConnection: RequestHandler = (req, res, next) => {
  const { socket } = req;
  const waiting = open.get(socket) ?? newConnection(socket);
  waiting.add(res);
  res.once('close', () => {
    waiting.delete(res);
    if (req.complete) return;
    spoiled.add(socket);
    cutOff(socket, () => !req.complete);
  });
  next();
};

function newConnection(socket: Duplex): Set<Response> {
  const waiting = new Set<Response>();
  open.set(socket, waiting);
  // Node tells the end of a connection to the response whose turn it is, and forgets those behind it in a pipeline.
  socket.once('close', () => {
    for (const res of waiting) if (res.socket === null) res.emit('close');
  });
  return waiting;
}

function cutOff(socket: Duplex, stillWrong = () => true): void {
  const timer = setTimeout(() => {
    if (stillWrong()) socket.destroy();
    else spoiled.delete(socket);
  }, LINGER_MS);
  timer.unref();
}

/**
 * Lets a caller close its half of the connection after a request and still get the answer, and refuses what is no HTTP
 * only after the requests before it have been answered: a refusal must not be taken for the answer to one of them.
 */
export function tendConnections(server: Server, refuse: (error: Error, socket: Duplex) => void): void {
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on('clientError', (error, socket) => {
    if (spoiled.has(socket)) return cutOff(socket);
    spoiled.add(socket);
    const answer = () => {
      refuse(error, socket);
      cutOff(socket);
    };
    const before = [...(open.get(socket) ?? [])].filter((res) => res.req.complete).at(-1);
    if (before === undefined) answer();
    else before.once('close', answer);
  });
}
