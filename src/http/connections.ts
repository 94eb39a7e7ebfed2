import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { Problem } from '../problems';
import { endWait } from './client-disconnect';
import { parserProblem } from './error-response';

/** Who still sends so long after an answer is cut off; a reset at once could take the answer along. */
const LINGER_MS = 2_000;

type Connection = {
  /** The responses that are still to come, in the order of their requests. */
  readonly open: Set<ServerResponse>;
  /** The last request that was answered before it had come whole. */
  early?: IncomingMessage;
  /** What follows is no HTTP. */
  broken: boolean;
};

const connections = new WeakMap<Duplex, Connection>();

/** Watches what becomes of the connections of requests. */
export function watchConnections(serve: RequestListener): RequestListener {
  return (req, res) => {
    const { socket } = req;
    const connection = connectionOf(socket);
    connection.open.add(res);
    res.once('close', () => {
      connection.open.delete(res);
      if (!res.writableFinished) endWait(res);
      if (req.complete) return;
      connection.early = req;
      // What has come together with the head is read in this very turn.
      setImmediate(() => {
        if (!req.complete) cutOff(socket, () => req.complete);
      });
    });
    return serve(req, res);
  };
}

function connectionOf(socket: Duplex): Connection {
  const known = connections.get(socket);
  if (known !== undefined) return known;
  const connection: Connection = { open: new Set(), broken: false };
  connections.set(socket, connection);
  socket.once('end', () => {
    for (const res of connection.open) endWait(res);
  });
  // Node 20 and 22 close only the response whose turn it is, and forget those behind it in the pipeline. Later versions
  // close all of them (nodejs/node#62534), in ticks that are queued before this one.
  socket.once('close', () => {
    process.nextTick(() => {
      for (const res of connection.open) if (res.socket === null) res.emit('close');
    });
  });
  return connection;
}

/** Unless it is over by then: a body may be too large and yet come to its end. */
function cutOff(socket: Duplex, over = () => false): void {
  if (socket.destroyed) return;
  setTimeout(() => {
    if (!over()) socket.destroy();
  }, LINGER_MS).unref();
}

/** Whether the request that is coming in has its answer already, or one that waits for its turn. */
function answeredEarly({ open, early }: Connection): boolean {
  const latest = [...open].at(-1);
  return early?.complete === false || (latest?.writableEnded === true && !latest.req.complete);
}

/**
 * Lets a caller close its half of the connection after a request and still get the answer, and refuses what is no HTTP,
 * and CONNECT, only after the requests before it have been answered: a refusal must not be taken for the answer to one of
 * them.
 */
export function tendConnections(server: Server, refuse: (problem: Problem, socket: Duplex) => void): void {
  Object.assign(server, { httpAllowHalfOpen: true });
  const refuseInTurn = (problem: Problem, socket: Duplex) => {
    const connection = connectionOf(socket);
    if (connection.broken) return;
    connection.broken = true;
    const answer = () => {
      if (!answeredEarly(connection)) refuse(problem, socket);
      cutOff(socket);
    };
    const before = [...connection.open].filter((res) => res.req.complete).at(-1);
    if (before === undefined) answer();
    else before.once('close', answer);
  };
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET') socket.destroy();
    else refuseInTurn(parserProblem(error), socket);
  });
  server.on('connect', (_req, socket) => {
    socket.on('error', () => socket.destroy());
    refuseInTurn(new Problem('method-not-allowed', { headers: { Allow: '' } }), socket);
  });
}
