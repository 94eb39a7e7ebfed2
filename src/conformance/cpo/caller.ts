import type { LookupFunction } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { checkedLookup, ForbiddenAddress, literalHost, mayCall } from '../../outbound/address';
import { readUpTo } from '../../outbound/read-up-to';
import { CheckNotRun, type Exchange, type FailureKind, type Sent } from './exchange';

/** The time-outs and bounds of a run, in ms and bytes. A CPO is called by the service with the same deadlines. */
export const LIMITS = { connectMs: 5_000, deadlineMs: 10_000, runMs: 115_000, timeOuts: 3, answerBytes: 65_536 };
export type Limits = typeof LIMITS;

/** For tests: how hosts are resolved, and a certificate authority to trust beside the system's. */
export type Network = { readonly lookup?: LookupFunction; readonly ca?: string };

export type CallerOptions = {
  /** Whether the target is on loopback: only then is loopback called, and a certificate may be self-signed. */
  readonly local: boolean;
  readonly limits: Limits;
  readonly network: Network;
  /** The maximum number of requests a second; undefined for no maximum. */
  readonly rate: number | undefined;
  readonly signal: AbortSignal;
};

const UNCONNECTED = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO|EPROTO|ERR_SSL|ERR_TLS/;

/**
 * Sends requests to the target as the service does: only to allowed addresses, without following redirects, and without reading
 * more than a response may contain. After three time-outs it sends no more.
 */
export class Caller {
  readonly #agent: Agent;
  #timeOuts = 0;
  #nextAt = 0;

  constructor(readonly options: CallerOptions) {
    const { local, limits, network } = options;
    // A separate agent, so that proxy settings of the environment do not apply.
    this.#agent = new Agent({
      connect: {
        lookup: checkedLookup(local),
        timeout: limits.connectMs,
        rejectUnauthorized: !local,
        ...network,
      },
      headersTimeout: limits.deadlineMs,
      bodyTimeout: limits.deadlineMs,
    });
  }

  /** @throws CheckNotRun after three time-outs, or when the run has ended */
  async send(sent: Sent): Promise<Exchange> {
    await this.#prepare(1);
    const exchange = await this.#exchange(sent);
    this.#settle([exchange]);
    return exchange;
  }

  /** Sends requests at once. @throws CheckNotRun after three time-outs, or when the run has ended */
  async sendAtOnce(requests: readonly Sent[]): Promise<Exchange[]> {
    await this.#prepare(requests.length);
    const exchanges = await Promise.all(requests.map((sent) => this.#exchange(sent)));
    this.#settle(exchanges);
    return exchanges;
  }

  async #prepare(count: number): Promise<void> {
    const { limits, signal } = this.options;
    if (this.#timeOuts >= limits.timeOuts)
      throw new CheckNotRun(`responses within ${limits.deadlineMs / 1_000} s: ${limits.timeOuts} requests timed out`);
    await this.#pace(count);
    if (signal.aborted) throw new CheckNotRun(endOf(signal));
  }

  #settle(exchanges: readonly Exchange[]): void {
    const { signal } = this.options;
    if (signal.aborted) throw new CheckNotRun(endOf(signal));
    this.#timeOuts += exchanges.filter(({ failure }) => failure?.kind === 'timed-out').length;
  }

  /** Waits until so many requests may be sent at once without exceeding the rate. */
  async #pace(count: number): Promise<void> {
    const { rate, signal } = this.options;
    if (rate === undefined) return;
    const now = performance.now();
    // Requests that are sent at once need the time of all but the first in advance.
    const at = Math.max(now, this.#nextAt) + ((count - 1) * 1_000) / rate;
    this.#nextAt = at + 1_000 / rate;
    if (at > now) await sleep(at - now, undefined, { signal }).catch(() => undefined);
  }

  async #exchange(sent: Sent): Promise<Exchange> {
    const { limits, signal, local } = this.options;
    const started = performance.now();
    const controller = new AbortController();
    let timedOut = false;
    const deadline = setTimeout(() => {
      timedOut = true;
      controller.abort();
    }, limits.deadlineMs);
    const abort = () => controller.abort();
    signal.addEventListener('abort', abort);
    const durationMs = () => Math.round(performance.now() - started);
    try {
      const url = new URL(sent.url);
      const literal = literalHost(url);
      if (literal !== undefined && !mayCall(literal, local)) throw new ForbiddenAddress(`${literal} is special`);
      const { statusCode, headers, body } = await request(url, {
        method: sent.method,
        headers: sent.headers,
        body: sent.body ?? null,
        dispatcher: this.#agent,
        signal: controller.signal,
      });
      const read = await readUpTo(body, limits.answerBytes);
      return { sent, answer: { status: statusCode, headers, ...read }, durationMs: durationMs() };
    } catch (error) {
      return { sent, failure: failureOf(error, timedOut, limits, sent), durationMs: durationMs() };
    } finally {
      clearTimeout(deadline);
      signal.removeEventListener('abort', abort);
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

const endOf = ({ reason }: AbortSignal) => (reason instanceof RunEnded ? reason.message : 'a run that is not stopped');

/** Why a run ends before all checks have run. */
export class RunEnded extends Error {
  override readonly name = 'RunEnded';
}

const CLOSED = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

function failureOf(
  error: unknown,
  timedOut: boolean,
  limits: Limits,
  { headers }: Sent,
): { kind: FailureKind; reason: string } {
  const look = `look into your log for the request with X-Request-ID ${headers['x-request-id']}`;
  const { code, message }: { code?: unknown; message?: unknown } = Object(error);
  const name = String(code ?? message);
  if (error instanceof ForbiddenAddress) return { kind: 'forbidden', reason: error.message };
  if (timedOut || name === 'UND_ERR_HEADERS_TIMEOUT' || name === 'UND_ERR_BODY_TIMEOUT')
    return { kind: 'timed-out', reason: `no complete response within ${limits.deadlineMs / 1_000} s: ${look}` };
  if (name === 'UND_ERR_CONNECT_TIMEOUT')
    return { kind: 'unconnected', reason: `no connection within ${limits.connectMs / 1_000} s` };
  if (UNCONNECTED.has(name)) return { kind: 'unconnected', reason: `no connection: ${name}` };
  if (CERTIFICATE.test(name)) return { kind: 'certificate', reason: `TLS failed: ${name}` };
  if (CLOSED.has(name))
    return { kind: 'broken', reason: `you closed the connection without a complete response (${name}): ${look}` };
  return { kind: 'broken', reason: `no valid HTTP response (${name}): ${look}` };
}
