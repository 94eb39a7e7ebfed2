import { Agent, request } from 'undici';
import type { OpenApiDocument } from '../contract/document';
import { newSpan, type Origin, writeTraceparent } from '../contract/trace-context';
import { jsonValidator, type ValidateJson } from '../contract/validate-json';
import type { Random } from '../crypto/random';
import type { Metrics } from '../metrics';
import { checkedLookup, ForbiddenAddress, literalHost, mayCall } from '../outbound/address';
import { type CallOutcome, Circuits } from '../outbound/circuit';
import { Problem } from '../problems';
import { type PayloadProtocol, storedProtocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { type Answer, answered, notFound, readAll, uidIn } from './answer';
import type { CallableCpo } from './cpos';
import { containsSecret, readStation } from './station-answer';

const DEADLINE_MS = 10_000;
const CONNECT_MS = 5_000;

const STOPPED = 'The service stopped before the CPO answered.';
const FORBIDDEN = "The CPO's address is private or otherwise special and must not be called.";

/** The origin of a call to a CPO: the request, and any string that identifies the user. */
export type Caller = { readonly origin: Origin; readonly user: string; readonly signal?: AbortSignal | undefined };

/** The station in a CPO's response, or the reason why the response was rejected, with its uid if one could be read. */
export type StationAnswer =
  | { readonly body: StationBody }
  | { readonly refused: Problem; readonly uid: string | undefined };

/** Calls CPOs, with one connection pool and one circuit breaker for each CPO in a process. */
export class CpoClient {
  readonly #agent: Agent;
  readonly #userAgent: string;
  readonly #circuits: Circuits;
  /** Validates the body of a response, as strictly as a request of a CPO. */
  readonly #validate: ValidateJson;

  /** @param loopback whether loopback is allowed, also over http */
  constructor(
    readonly loopback: boolean,
    document: OpenApiDocument,
    readonly metrics: Metrics,
    readonly random: Random,
  ) {
    this.#circuits = new Circuits(metrics);
    // A separate agent, so that proxy settings of the environment do not apply.
    this.#agent = new Agent({ connect: { lookup: checkedLookup(loopback), timeout: CONNECT_MS } });
    this.#userAgent = `scsp-pairing/${document.info.version}`;
    this.#validate = jsonValidator(document);
  }

  /**
   * Redeems a code at the CPO that issued it and returns the station (contract, section 5).
   * @throws Problem `incorrect-code`, `cpo-failed`, `cpo-timed-out`, `unavailable` (circuit open: not called)
   */
  async askStation(
    cpo: CallableCpo,
    payloadProtocol: PayloadProtocol,
    code: string,
    caller: Caller,
  ): Promise<StationAnswer> {
    const secrets = [code, cpo.token ?? ''].filter((secret) => secret !== '');
    const logFailure = ({ message }: Problem) =>
      this.metrics.cpoCallFailed({ cpo_id: cpo.id, payload_protocol: payloadProtocol }, caller.origin, message);
    try {
      const answer = await this.#post(cpo, `/v1/cpo/${payloadProtocol}/pair`, { code }, caller);
      if (answer.status === 404) throw notFound(answer);
      if (answer.status !== 200) throw answered(answer.status);
      const read = readStation(this.#validate, payloadProtocol, answer, secrets);
      if (!(read instanceof Problem)) return { body: read };
      logFailure(read);
      const uid = uidIn(answer.bytes);
      return { refused: read, uid: containsSecret(uid, secrets) ? undefined : uid };
    } catch (error) {
      if (error instanceof Problem && error.type !== 'incorrect-code') logFailure(error);
      throw error;
    }
  }

  /**
   * Notifies a CPO that one of its stations is no longer paired. A 404 or 410 response counts as notified: the CPO does not
   * know the station.
   * @throws Problem `cpo-failed`, `cpo-timed-out`, `unavailable` (circuit open: not called)
   */
  async notifyUnpaired(cpo: CallableCpo, payloadProtocol: string, uid: string, caller: Caller): Promise<void> {
    const path = `/v1/cpo/${storedProtocolOf(payloadProtocol).unpairSegment}/${encodeURIComponent(uid)}/unpair`;
    const { status } = await this.#post(cpo, path, undefined, caller);
    if ((status < 200 || status > 299) && status !== 404 && status !== 410) throw answered(status);
  }

  /** Returns the ids of the CPOs whose circuit is open, which must not be called. */
  openCircuits(): string[] {
    return this.#circuits.open();
  }

  /**
   * Sends one POST request through the CPO's circuit breaker, without following redirects or retrying.
   * @throws Problem `cpo-failed` (no connection, response too large), `cpo-timed-out`, `unavailable` (circuit open: not called)
   */
  async #post(cpo: CallableCpo, path: string, body: unknown, caller: Caller): Promise<Answer> {
    const url = new URL(cpo.baseUrl + path);
    const literal = literalHost(url);
    if (literal !== undefined && !mayCall(literal, this.loopback))
      throw new Problem('cpo-failed', { message: FORBIDDEN });
    const recordOutcome = this.#circuits.enter(cpo.id, caller.user);
    const controller = new AbortController();
    let timedOut = false;
    const deadline = setTimeout(() => {
      timedOut = true;
      controller.abort();
    }, DEADLINE_MS);
    const onStop = () => controller.abort();
    caller.signal?.addEventListener('abort', onStop);
    let outcome: CallOutcome = 'failed';
    try {
      const response = await request(url, {
        method: 'POST',
        dispatcher: this.#agent,
        signal: controller.signal,
        headers: this.#headers(cpo, body, caller.origin),
        body: body === undefined ? null : JSON.stringify(body),
      });
      const bytes = await readAll(response.body);
      if (response.statusCode < 500) outcome = 'answered';
      return { status: response.statusCode, headers: response.headers, bytes };
    } catch (cause) {
      if (cause instanceof Problem) outcome = 'answered';
      else if (!timedOut && (cause instanceof ForbiddenAddress || caller.signal?.aborted)) outcome = 'unknown';
      if (cause instanceof Problem) throw cause;
      if (timedOut) throw new Problem('cpo-timed-out', { cause });
      if (caller.signal?.aborted) throw new Problem('cpo-failed', { message: STOPPED, cause });
      const message = cause instanceof ForbiddenAddress ? FORBIDDEN : 'The CPO could not be reached.';
      throw new Problem('cpo-failed', { message, cause });
    } finally {
      recordOutcome(outcome);
      clearTimeout(deadline);
      caller.signal?.removeEventListener('abort', onStop);
    }
  }

  #headers(cpo: CallableCpo, body: unknown, { requestId, trace }: Origin): Record<string, string> {
    return {
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': this.#userAgent,
      'x-request-id': requestId,
      traceparent: writeTraceparent(newSpan(this.random, trace)),
      ...(cpo.token !== undefined && { authorization: `Bearer ${cpo.token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    };
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}
