import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, LookupFunction } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Express } from 'express';
import type { Context } from '../context';
import { OperatorError } from '../problems';
import { handleClientErrors, trackResponses } from './connections';
import { refuseConnection } from './error-response';

/** Requests in flight get this long to finish when the service stops. */
export const GRACE_MS = 10_000;
const CLOSE_IDLE_EVERY_MS = 20;

/** Limits on clients that send or read slowly. */
export const HTTP_LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 15_000,
  /** Longer than a load balancer keeps an idle connection. Callers are told, so HAProxy keeps theirs for longer (haproxy.cfg). */
  keepAliveTimeout: 75_000,
  /** For clients that do not read their response; the longest long poll is silent for 30 s. */
  timeout: 45_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16_384,
  /** No limit: beyond it Node leaves headers out, a second Host perhaps. Their size is limited. */
  maxHeadersCount: 0,
  /** `normalizeRequest` refuses a request without Host, in the one shape of errors. */
  requireHostHeader: false,
  /** Long polls, requests, slow bodies and idle connections; more are closed at once, before file descriptors run out. */
  maxConnections: 10_000,
};

/** Creates the HTTP server of the API; `listen` starts it. */
export function createHttpServer(ctx: Context, app: Express, limits: typeof HTTP_LIMITS): Server {
  const { maxConnections, maxHeadersCount, timeout, ...options } = limits;
  const listener = trackResponses(app, ctx.stopping);
  const server = Object.assign(createServer(options, listener), { maxConnections, maxHeadersCount, timeout });
  server.on('checkContinue', listener).on('checkExpectation', listener);
  server.on('drop', () => ctx.metrics.requestShed('connections'));
  handleClientErrors(server, (problem, socket) => refuseConnection(ctx, problem, socket));
  return server;
}

/**
 * Starts to listen and returns the port.
 * @param host undefined: every address, those of IPv6 only if the kernel supports it
 * @param setting the name of the setting that holds the port
 * @throws OperatorError with the setting if the port or the host is not available
 */
export async function listen(
  server: Server,
  port: number,
  host: string | undefined,
  setting: 'PORT' | 'METRICS_PORT',
): Promise<number> {
  server.listen({ port, host });
  await once(server, 'listening').catch((cause: NodeJS.ErrnoException) => {
    const refusal = refusalOf(cause.code, port, host, setting);
    throw refusal === undefined ? cause : new OperatorError(`${refusal} (${cause.message})`, { cause });
  });
  return (server.address() as AddressInfo).port;
}

function refusalOf(code: string | undefined, port: number, host: string | undefined, setting: string) {
  switch (code) {
    case 'EADDRINUSE':
      return `${setting} ${port} is in use: stop what listens there, or set ${setting} to another port (0 picks one)`;
    case 'EACCES':
      return `${setting} ${port} may not be listened on by this user: set ${setting} to a port from 1024 on`;
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'EINVAL':
    case 'ENOTFOUND':
      return `HOST ${host ?? ''} is not an address of this machine`;
    default:
      return undefined;
  }
}

/** Longer than a database that does not respond keeps `/ready` waiting. */
const READY_WITHIN_MS = 10_000;
const WILDCARDS = ['::', '0.0.0.0'];
const bothLoopbacks: LookupFunction = (_hostname, _options, found) =>
  found(null, [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ]);

/**
 * Asks the service whether it is ready: the validator starts in spite of a broken spec and then answers 500 to everything.
 * Connects to the port directly, whatever proxy the environment names.
 * @throws Error if it is not ready, or does not respond within 10 s
 */
export async function requireReady(server: Server): Promise<void> {
  const { address, port } = server.address() as AddressInfo;
  const to = WILDCARDS.includes(address) ? { host: 'localhost', lookup: bothLoopbacks } : { host: address };
  const options = {
    ...to,
    port,
    path: '/ready',
    headers: { connection: 'close' },
    agent: false,
    autoSelectFamily: true,
    signal: AbortSignal.timeout(READY_WITHIN_MS),
  };
  const [response] = (await once(get(options), 'response')) as [IncomingMessage];
  const body = await text(response);
  if (response.statusCode !== 200) throw new Error(`the service does not answer itself: ${body}`);
}

/** How long connections that keep arriving can delay a stop. */
const ARRIVALS_MS = 1_000;

/**
 * Resolves when every request has been read that had arrived at the call: Node takes its connection for idle until then, and would
 * close it without an answer. Node accepts one connection in a turn of the event loop, and reads from it in the next one; the turn
 * under way has its events already. So this waits for three turns in which no connection comes.
 */
export async function readArrivedRequests(server: Server): Promise<void> {
  let quietTurns = 0;
  const onConnection = () => {
    quietTurns = 0;
  };
  server.on('connection', onConnection);
  const end = performance.now() + ARRIVALS_MS;
  while (quietTurns++ < 3 && performance.now() < end) await nextTurn();
  server.off('connection', onConnection);
}

/** Closes a server: no new connections, idle ones at once, those in use as soon as they are idle, all after the grace time. */
export async function close(server: Server, graceMs = GRACE_MS): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  const idle = setInterval(async () => {
    await readArrivedRequests(server);
    server.closeIdleConnections();
  }, CLOSE_IDLE_EVERY_MS);
  const grace = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearInterval(idle);
  clearTimeout(grace);
}
