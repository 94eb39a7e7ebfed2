import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { Problem } from '../problems';
import { endWait } from './client-disconnect';
import { parserProblem } from './error-response';

/** A lingering close (RFC 9112, 9.6): a reset while the client still sends could discard the response. */
const LINGER_MS = 2_000;

type Connection = {
  /** The responses not yet closed, in the order of their requests. */
  readonly open: Set<ServerResponse>;
  /** The last request that was answered before its body had arrived. */
  answeredEarly: IncomingMessage | undefined;
  /** Whether the HTTP parser has rejected something. Node reports that again for all further data. */
  rejected: boolean;
};

const connections = new WeakMap<Duplex, Connection>();

/** Lets a response say that its connection is closed after it, so that the client sends no other request there. */
function announceClose(res: ServerResponse | undefined): void {
  if (res?.headersSent === false) res.setHeader('Connection', 'close');
}

/**
 * Wraps a request listener: keeps track of the responses of each connection, and ends waits when a client disconnects.
 * @param stopping from then on, the last response of each connection says that it is closed
 */
export function trackResponses(listener: RequestListener, stopping: AbortSignal): RequestListener {
  /** The connections with responses that are not yet closed. */
  const inUse = new Set<Connection>();
  stopping.addEventListener('abort', () => {
    for (const { open } of inUse) announceClose([...open].at(-1));
  });
  return (req, res) => {
    const { socket } = req;
    const connection = connectionOf(socket);
    // The next request begins: the last one has arrived.
    connection.answeredEarly = undefined;
    connection.open.add(res);
    inUse.add(connection);
    if (stopping.aborted) announceClose(res);
    res.once('close', () => {
      connection.open.delete(res);
      if (connection.open.size === 0) inUse.delete(connection);
      if (!res.writableFinished) endWait(res);
      if (req.complete) return;
      connection.answeredEarly = req;
      destroyLater(socket, () => !req.complete);
    });
    return listener(req, res);
  };
}

function connectionOf(socket: Duplex): Connection {
  const known = connections.get(socket);
  if (known !== undefined) return known;
  const connection: Connection = { open: new Set(), answeredEarly: undefined, rejected: false };
  connections.set(socket, connection);
  socket.once('end', () => {
    for (const res of connection.open) endWait(res);
  });
  // Node 20 and 22 close only the first response of a pipeline (nodejs/node#62534), and the others would keep their slots
  // for ever. Later versions close all of them, in ticks that are queued before this one.
  socket.once('close', () => {
    process.nextTick(() => {
      for (const res of connection.open) if (res.socket === null) res.emit('close');
    });
  });
  return connection;
}

/**
 * Lets a client that has closed its half of the connection still get its response, and answers what Node's HTTP parser
 * rejects, and CONNECT. A connection on which a response is still to be sent is closed after it, without a refusal, which
 * the client could take for that response.
 * @param refuse writes an error response to a socket and ends it
 */
export function handleClientErrors(server: Server, refuse: (problem: Problem, socket: Duplex) => void): void {
  Object.assign(server, { httpAllowHalfOpen: true });
  const reject = (problem: Problem, socket: Duplex) => {
    const connection = connectionOf(socket);
    if (connection.rejected) return;
    connection.rejected = true;
    const close = () => {
      socket.end();
      destroyLater(socket);
    };
    const answering = [...connection.open].filter((res) => res.req.complete).at(-1);
    if (answering !== undefined) return void answering.once('close', close);
    if (!isAnswered(connection)) refuse(problem, socket);
    close();
  };
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET') socket.destroy();
    else reject(parserProblem(error), socket);
  });
  server.on('connect', (_req, socket) => {
    socket.on('error', () => socket.destroy());
    reject(new Problem('method-not-allowed', { headers: { Allow: '' } }), socket);
  });
}

/** Returns whether the request that is still arriving has its response already. */
function isAnswered({ open, answeredEarly }: Connection): boolean {
  const latest = [...open].at(-1);
  return answeredEarly?.complete === false || (latest?.writableEnded === true && !latest.req.complete);
}

/** Destroys a socket after LINGER_MS, if that is still necessary then. */
function destroyLater(socket: Duplex, isNecessary = () => true): void {
  setTimeout(() => {
    if (isNecessary()) socket.destroy();
  }, LINGER_MS).unref();
}
