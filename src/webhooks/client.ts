import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { OpenApiDocument } from '../contract/document';
import { type Origin, writeTraceparent } from '../contract/trace-context';
import { checkedLookup, ForbiddenAddress, isForbiddenAsWritten } from '../outbound/address';
import type { CallOutcome } from '../outbound/circuit';
import { Problem } from '../problems';
import { signedHeaders } from './signature';

export const DEADLINE_MS = 15_000;
export const CONNECT_MS = 5_000;
/** How much of a response is discarded so that its connection can be used again; beyond that the connection is closed. */
const DISCARD_BYTES = 65_536;
const DISCARD_MS = 1_000;
/** Idle connections are closed after this time. Longer than a call takes, because it also applies during calls. */
const IDLE_MS = 20_000;
const IDLE_CONNECTIONS = 10;

const UNREACHABLE = 'The endpoint could not be reached.';
const TIMED_OUT = `The endpoint did not answer within ${DEADLINE_MS / 1_000} s.`;
const FORBIDDEN = "The endpoint's address is private or otherwise special and must not be called.";

export type WebhookCall = {
  readonly url: string;
  /** The id of the event. */
  readonly id: string;
  readonly origin: Origin;
  /** Called when the connection is ready, so that nothing is sent that was read before a slow connect. */
  compose(): Composed | Promise<Composed>;
};

/** What is sent: the body, and the secrets that sign it, the newest first. */
export type Composed = { readonly body: string; readonly secrets: readonly string[] };

/** What came of a call. The response body is discarded. */
export type WebhookOutcome = {
  readonly delivered: boolean;
  readonly status: number | undefined;
  readonly durationMs: number;
  /** Why it was not delivered. */
  readonly error: string | undefined;
  readonly retryAfter: string | undefined;
  /** For the circuit breaker. */
  readonly call: CallOutcome;
};

/**
 * Calls webhook endpoints. Uses Node's own HTTP client rather than undici, because only it reports that a connection is ready
 * before the headers, which sign the body, must be known. Redirects are not followed.
 */
export class WebhookClient {
  readonly #userAgent: string;
  readonly #agents: { readonly [scheme in 'http:' | 'https:']: HttpAgent };
  /** For the repetition of a call whose kept connection had just been closed by the endpoint. */
  readonly #freshAgents: { readonly [scheme in 'http:' | 'https:']: HttpAgent };

  /** @param loopback whether loopback is allowed, also over http */
  constructor(
    readonly loopback: boolean,
    document: OpenApiDocument,
  ) {
    this.#userAgent = `scsp-pairing/${document.info.version}`;
    // Own agents, so that proxy settings of the environment do not apply.
    const options = { lookup: checkedLookup(loopback), timeout: IDLE_MS };
    const kept = { ...options, keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS };
    this.#agents = { 'http:': new HttpAgent(kept), 'https:': new HttpsAgent(kept) };
    this.#freshAgents = { 'http:': new HttpAgent(options), 'https:': new HttpsAgent(options) };
  }

  /**
   * Sends one signed POST request.
   * @throws Problem `unavailable` when `signal` was aborted, and whatever `compose` throws: the endpoint has not failed
   */
  async send(call: WebhookCall, signal: AbortSignal): Promise<WebhookOutcome> {
    const start = performance.now();
    const outcome = (rest: Partial<WebhookOutcome>): WebhookOutcome => ({
      delivered: false,
      status: undefined,
      durationMs: Math.round(performance.now() - start),
      error: undefined,
      retryAfter: undefined,
      call: 'failed',
      ...rest,
    });
    const url = new URL(call.url);
    if (isForbiddenAsWritten(url, this.loopback)) return outcome({ error: FORBIDDEN, call: 'unknown' });
    const controller = new AbortController();
    let timedOut = false;
    const deadline = setTimeout(() => {
      timedOut = true;
      controller.abort();
    }, DEADLINE_MS);
    const onStop = () => controller.abort();
    signal.addEventListener('abort', onStop);
    if (signal.aborted) onStop();
    try {
      const response = await this.#attempt(url, call, controller.signal);
      const { statusCode: status = 0, headers } = response;
      const delivered = status >= 200 && status <= 299;
      const result = outcome({
        delivered,
        status,
        error: delivered ? undefined : `The endpoint answered ${status}.`,
        retryAfter: headers['retry-after'],
        call: status < 500 ? 'answered' : 'failed',
      });
      await discard(response);
      return result;
    } catch (error) {
      if (error instanceof ComposeError) throw error.cause;
      if (timedOut) return outcome({ error: TIMED_OUT });
      if (signal.aborted) throw new Problem('unavailable', { cause: error });
      if (error instanceof ForbiddenAddress) return outcome({ error: FORBIDDEN, call: 'unknown' });
      return outcome({ error: UNREACHABLE });
    } finally {
      clearTimeout(deadline);
      signal.removeEventListener('abort', onStop);
    }
  }

  async #attempt(url: URL, call: WebhookCall, signal: AbortSignal): Promise<IncomingMessage> {
    try {
      return await this.#post(url, call, signal, this.#agents);
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error;
      return this.#post(url, call, signal, this.#freshAgents);
    }
  }

  /** Resolves with the head of the response. */
  #post(
    url: URL,
    call: WebhookCall,
    signal: AbortSignal,
    agents: { readonly [scheme in 'http:' | 'https:']: HttpAgent },
  ): Promise<IncomingMessage> {
    const scheme = url.protocol === 'https:' ? 'https:' : 'http:';
    const request = (scheme === 'https:' ? httpsRequest : httpRequest)(url, {
      method: 'POST',
      agent: agents[scheme],
      signal,
    });
    return new Promise((resolve, reject) => {
      const connecting = setTimeout(() => request.destroy(new Error('connect time-out')), CONNECT_MS);
      const write = async () => {
        clearTimeout(connecting);
        try {
          const composed = await call.compose();
          if (request.destroyed) return;
          for (const [name, value] of Object.entries(this.#headers(call, composed))) request.setHeader(name, value);
          request.end(composed.body);
        } catch (cause) {
          request.destroy(new ComposeError('the body could not be composed', { cause }));
        }
      };
      request.on('socket', (socket) => {
        if (!socket.connecting && request.reusedSocket) void write();
        else socket.once(scheme === 'https:' ? 'secureConnect' : 'connect', write);
      });
      request.on('response', resolve);
      request.on('error', (error: NodeJS.ErrnoException) => {
        const closed = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        reject(closed ? new ConnectionClosed('the endpoint closed a kept connection', { cause: error }) : error);
      });
      // Without an error or a response, for example when the endpoint switches protocols.
      request.on('close', () => {
        clearTimeout(connecting);
        reject(new Error('the connection was closed'));
      });
    });
  }

  #headers({ id, origin }: WebhookCall, { body, secrets }: Composed): Record<string, string | number> {
    return {
      accept: '*/*',
      'accept-encoding': 'identity',
      'content-length': Buffer.byteLength(body),
      'content-type': 'application/json',
      'user-agent': this.#userAgent,
      'x-request-id': origin.requestId,
      traceparent: writeTraceparent(origin.trace),
      ...signedHeaders(secrets, id, Date.now(), body),
    };
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    for (const agents of [this.#agents, this.#freshAgents]) for (const agent of Object.values(agents)) agent.destroy();
  }
}

class ComposeError extends Error {}
class ConnectionClosed extends Error {}

/** Reads and drops a response body. One that is large or slow is cut off. */
function discard(response: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let size = 0;
    const timer = setTimeout(() => response.destroy(), DISCARD_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > DISCARD_BYTES) response.destroy();
    });
    response.on('end', done);
    response.on('close', done);
    // Destroyed or cut off: the status is known already.
    response.on('error', () => {});
  });
}
