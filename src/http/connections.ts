import type { RequestListener, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** Who still sends so long after an answer is cut off; a reset at once could take the answer along. */
const LINGER_MS = 2_000;
/** Why a signal is aborted; without a reason Node makes an error, with its stack, each time. */
const LEFT = 'left';

type Connection = {
  /** The responses that are still to come, in the order of their requests. */
  readonly open: Map<ServerResponse, AbortController>;
  /** No request is answered any more. */
  spoiled: boolean;
};

const connections = new WeakMap<Duplex, Connection>();

/**
 * Watches what becomes of the connections of requests. `res.locals.left` is aborted when the caller cannot be answered
 * any more, or has closed its half of the connection and may be gone for good.
 */
export function watchConnections(serve: RequestListener): RequestListener {
  return (req, res) => {
    const { socket } = req;
    const connection = connectionOf(socket);
    const left = new AbortController();
    connection.open.set(res, left);
    if (socket.readableEnded) left.abort(LEFT);
    // Express keeps what it finds there.
    Object.assign(res, { locals: { left: left.signal } });
    res.once('close', () => {
      connection.open.delete(res);
      if (!res.writableFinished) left.abort(LEFT);
      if (req.complete) return;
      connection.spoiled = true;
      cutOff(socket, () => req.complete);
    });
    return serve(req, res);
  };
}

function connectionOf(socket: Duplex): Connection {
  const known = connections.get(socket);
  if (known !== undefined) return known;
  const connection: Connection = { open: new Map(), spoiled: false };
  connections.set(socket, connection);
  socket.once('end', () => {
    for (const left of connection.open.values()) left.abort(LEFT);
  });
  // Node tells the end of a connection to the response whose turn it is, and forgets those behind it in a pipeline.
  socket.once('close', () => {
    for (const res of connection.open.keys()) if (res.socket === null) res.emit('close');
  });
  return connection;
}

/** Unless it is over by then: a body may be too large and yet come to its end. */
function cutOff(socket: Duplex, over = () => false): void {
  const timer = setTimeout(() => {
    if (!over()) socket.destroy();
    else connectionOf(socket).spoiled = false;
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
    const connection = connectionOf(socket);
    if (connection.spoiled) return cutOff(socket);
    connection.spoiled = true;
    const answer = () => {
      refuse(error, socket);
      cutOff(socket);
    };
    const before = [...connection.open.keys()].filter((res) => res.req.complete).at(-1);
    if (before === undefined) answer();
    else before.once('close', answer);
  });
}
