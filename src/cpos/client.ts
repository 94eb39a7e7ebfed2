import { Agent, request } from 'undici';
import type { Call, CallOperation } from '../calls/call';
import type { RecordCalls } from '../calls/record-calls';
import type { OpenApiDocument } from '../contract/document';
import { newSpan, type Origin, type TraceContext, writeTraceparent } from '../contract/trace-context';
import { jsonValidator, type ValidateJson } from '../contract/validate-json';
import type { Random } from '../crypto/random';
import type { Metrics } from '../metrics/metrics';
import { checkedLookup, isForbiddenAsWritten } from '../outbound/address';
import { type CallOutcome as CircuitOutcome, Circuits } from '../outbound/circuit';
import { Problem, type ValidationError } from '../problems';
import { type PayloadProtocol, storedProtocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import {
  type Answer,
  discard,
  failureOf,
  forbiddenAddress,
  NoAnswer,
  notFound,
  type Reading,
  readAll,
  uidIn,
  unexpected,
} from './answer';
import type { CallableCpo } from './cpos';
import { isEcho, readStation } from './station-answer';

export const DEADLINE_MS = 10_000;
export const CONNECT_MS = 5_000;

/** The address at which a CPO redeems its codes. */
export const pairUrl = ({ baseUrl }: CallableCpo, payloadProtocol: PayloadProtocol) =>
  `${baseUrl}${pairPath(payloadProtocol)}`;
const pairPath = (payloadProtocol: PayloadProtocol) => `/v1/cpo/${payloadProtocol}/pair`;

/** The origin of a call to a CPO: the request that caused it, and any string that identifies the user. */
export type Caller = {
  readonly origin: Origin;
  readonly user: string;
  /** The pairing that the call is about, for the log. */
  readonly pairingId?: string | null;
  readonly signal?: AbortSignal | undefined;
  /** Told of the call once it has ended. */
  readonly onCall?: (call: Call) => void;
};

/**
 * The station in a CPO's response, or the reason why the response was rejected, with all validation errors, and its uid if one
 * could be read.
 */
export type StationAnswer =
  | { readonly body: StationBody }
  | { readonly refused: Problem; readonly errors: readonly ValidationError[]; readonly uid: string | undefined };

/** A call before it is made. */
type Planned = {
  readonly cpo: CallableCpo;
  readonly operation: CallOperation;
  readonly payloadProtocol: string;
  readonly path: string;
  readonly body?: unknown;
  readonly caller: Caller;
};

/** What identifies a call on both sides: a new request id, in the trace of its origin. */
type CallIds = { readonly requestId: string; readonly trace: TraceContext };

/** Calls CPOs, with one connection pool and one circuit breaker for each CPO in a process. */
export class CpoClient {
  readonly #agents: Readonly<Record<CallOperation, Agent>>;
  readonly #userAgent: string;
  readonly circuits: Circuits;
  /** Validates the body of a response, as strictly as a request of a CPO. */
  readonly #validate: ValidateJson;

  /** @param loopback whether loopback is allowed, also over http */
  constructor(
    readonly loopback: boolean,
    document: OpenApiDocument,
    readonly metrics: Metrics,
    readonly random: Random,
    readonly calls: Pick<RecordCalls, 'add'>,
  ) {
    this.circuits = new Circuits(metrics);
    // Agents of their own, so that proxy settings of the environment do not apply.
    const connect = { lookup: checkedLookup(loopback), timeout: CONNECT_MS };
    this.#agents = {
      // A CPO may close a kept connection just when it is used. An unpair is repeated then, but nobody knows whether the code was used.
      pair: new Agent({ connect, pipelining: 0 }),
      unpair: new Agent({ connect }),
    };
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
    const path = pairPath(payloadProtocol);
    const read = (answer: Answer): Reading<StationAnswer> => {
      if (answer.status === 404) return notFound(answer);
      if (answer.status !== 200) return unexpected(answer);
      const station = readStation(this.#validate, payloadProtocol, answer, secrets);
      if ('body' in station) return { outcome: 'answered', value: station };
      const { problem: refused, errors } = station;
      const uid = uidIn(answer.bytes);
      const value = { refused, errors, uid: isEcho(uid, code, cpo.token) ? undefined : uid };
      return { outcome: 'invalid-answer', errors, value };
    };
    try {
      const found = await this.#call({ cpo, operation: 'pair', payloadProtocol, path, body: { code }, caller }, read);
      if ('refused' in found) logFailure(found.refused);
      return found;
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
    await this.#call({ cpo, operation: 'unpair', payloadProtocol, path, caller }, (answer): Reading<void> => {
      const { status } = answer;
      const acknowledged = (status >= 200 && status <= 299) || status === 404 || status === 410;
      return acknowledged ? { outcome: 'answered', value: undefined } : unexpected(answer);
    });
  }

  /**
   * Makes a call, records it and logs it.
   * @param read says what the response means
   * @throws Problem that of the reading, or `unavailable` (circuit open: not called and not recorded)
   */
  async #call<T>(planned: Planned, read: (answer: Answer) => Reading<T>): Promise<T> {
    const { cpo, operation, payloadProtocol, caller } = planned;
    const ids = { requestId: this.random.requestId(), trace: newSpan(this.random, caller.origin.trace) };
    const id = this.random.uuid();
    const startedAt = performance.now();
    let reading: Reading<T>;
    let status: number | undefined;
    try {
      const answer = await this.#post(planned, ids);
      reading = read(answer);
      status = answer.status;
    } catch (error) {
      if (!(error instanceof NoAnswer)) {
        if (error instanceof Problem) this.metrics.cpoNotCalled(cpo.id, operation);
        throw error;
      }
      ({ reading, status } = error);
    }
    const { outcome, errors = [] } = reading;
    const durationMs = performance.now() - startedAt;
    const call: Call = {
      id,
      cpoId: cpo.id,
      operation,
      payloadProtocol,
      requestId: ids.requestId,
      status,
      durationMs,
      outcome,
      errors,
    };
    caller.onCall?.(call);
    this.calls.add(call, { ...caller.origin, trace: ids.trace }, caller.pairingId ?? undefined);
    if ('problem' in reading) throw reading.problem;
    return reading.value;
  }

  /**
   * Sends one POST request through the CPO's circuit breaker, without following redirects or retrying.
   * @throws NoAnswer without a complete response
   * @throws Problem `unavailable` (circuit open: not called)
   */
  async #post({ cpo, operation, path, body, caller }: Planned, ids: CallIds): Promise<Answer> {
    const url = new URL(cpo.baseUrl + path);
    if (isForbiddenAsWritten(url, this.loopback)) throw new NoAnswer(forbiddenAddress());
    const recordOutcome = this.circuits.enter(cpo.id, caller.user);
    const controller = new AbortController();
    let timedOut = false;
    const deadline = setTimeout(() => {
      timedOut = true;
      controller.abort();
    }, DEADLINE_MS);
    const onStop = () => controller.abort();
    caller.signal?.addEventListener('abort', onStop);
    let outcome: CircuitOutcome = 'failed';
    try {
      const response = await request(url, {
        method: 'POST',
        dispatcher: this.#agents[operation],
        signal: controller.signal,
        headers: this.#headers(cpo, body, ids),
        body: body === undefined ? null : JSON.stringify(body),
      });
      // To an unpair the status is the whole answer.
      const bytes = operation === 'unpair' ? discard(response) : await readAll(response);
      if (response.statusCode < 500) outcome = 'answered';
      return { status: response.statusCode, headers: response.headers, bytes };
    } catch (cause) {
      if (cause instanceof NoAnswer) {
        outcome = 'answered';
        throw cause;
      }
      const failure = failureOf(cause, timedOut, caller.signal?.aborted ?? false);
      if (failure.outcome === 'forbidden-address' || failure.outcome === 'interrupted') outcome = 'unknown';
      throw new NoAnswer(failure);
    } finally {
      recordOutcome(outcome);
      clearTimeout(deadline);
      caller.signal?.removeEventListener('abort', onStop);
    }
  }

  #headers(cpo: CallableCpo, body: unknown, { requestId, trace }: CallIds): Record<string, string> {
    return {
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': this.#userAgent,
      'x-request-id': requestId,
      traceparent: writeTraceparent(trace),
      ...(cpo.token !== undefined && { authorization: `Bearer ${cpo.token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    };
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#agents).map((agent) => agent.destroy()));
  }
}
