import { Agent, request } from 'undici';
import type { Chance, Context } from '../context';
import type { OpenApiDocument } from '../contract/document';
import { JsonFault, parseJson } from '../contract/parse-json';
import { newSpan, type Origin, writeTraceparent } from '../contract/trace-context';
import { jsonValidator, type ValidateJson } from '../contract/validate-json';
import { unescapePointer } from '../contract/validation-errors';
import { type Fault, Problem, shownTo } from '../problems';
import { type PayloadProtocol, protocolOf, type StationBody } from '../protocols';
import { checkedLookup, ForbiddenAddress, literalAddress, mayCall } from './address';
import { type Answer, answered, notFound, readAll, uidIn } from './answer';
import type { CallOutcome, Circuits } from './circuit';
import type { CallableCpo } from './cpos';

const DEADLINE_MS = 10_000;
const CONNECT_MS = 5_000;
/** So many faults of an answer fit in a message. */
const TOLD_FAULTS = 5;

/** On whose behalf a CPO is called: the request, and the user by any name that is theirs alone. */
export type Caller = { readonly origin: Origin; readonly user: string; readonly signal?: AbortSignal | undefined };

/** What calls to CPOs share: connections, circuits, and the contract's view of their answers. */
export class CpoCalls {
  readonly #agent: Agent;
  readonly #userAgent: string;
  /** Validates the body of an answer, as a CPO's own request is validated. */
  readonly validate: ValidateJson;

  /** @param loopback whether this machine may be called, over http too */
  constructor(
    readonly loopback: boolean,
    document: OpenApiDocument,
    readonly circuits: Circuits,
    readonly chance: Chance,
  ) {
    // An agent of its own, which no proxy of the environment diverts.
    this.#agent = new Agent({ connect: { lookup: checkedLookup(loopback), timeout: CONNECT_MS } });
    this.#userAgent = `scsp-pairing/${document.info.version}`;
    this.validate = jsonValidator(document);
  }

  /**
   * Sends one POST in the CPO's circuit. No redirect is followed, and nothing is repeated.
   * @throws Problem `cpo-failed` (no connection, too large), `cpo-timed-out`, `unavailable` (circuit open: not called)
   */
  async post(cpo: CallableCpo, path: string, body: unknown, caller: Caller): Promise<Answer> {
    const url = new URL(cpo.baseUrl + path);
    const literal = literalAddress(url);
    if (literal !== undefined && !mayCall(literal, this.loopback))
      throw new Problem('cpo-failed', { message: FORBIDDEN });
    const leave = this.circuits.enter(cpo.id, caller.user);
    const cut = new AbortController();
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      cut.abort();
    }, DEADLINE_MS);
    const onStop = () => cut.abort();
    caller.signal?.addEventListener('abort', onStop);
    let outcome: CallOutcome = 'failed';
    try {
      const response = await request(url, {
        method: 'POST',
        dispatcher: this.#agent,
        signal: cut.signal,
        headers: this.#headers(cpo, body, caller.origin),
        body: body === undefined ? null : JSON.stringify(body),
      });
      const bytes = await readAll(response.body);
      if (response.statusCode < 500) outcome = 'answered';
      return { status: response.statusCode, headers: response.headers, bytes };
    } catch (cause) {
      if (cause instanceof Problem) outcome = 'answered';
      else if (!late && (cause instanceof ForbiddenAddress || caller.signal?.aborted)) outcome = 'unknown';
      if (cause instanceof Problem) throw cause;
      if (late) throw new Problem('cpo-timed-out', { cause });
      if (caller.signal?.aborted) throw new Problem('cpo-failed', { message: STOPPED, cause });
      const message = cause instanceof ForbiddenAddress ? FORBIDDEN : 'The CPO could not be reached.';
      throw new Problem('cpo-failed', { message, cause });
    } finally {
      leave(outcome);
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
      traceparent: writeTraceparent(newSpan(this.chance, trace)),
      ...(cpo.token !== undefined && { authorization: `Bearer ${cpo.token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    };
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

const STOPPED = 'The service stopped before the CPO answered.';
const FORBIDDEN = "The CPO's address is private or special and is not called.";

/** A station as its protocol reads it, or why the CPO's answer was not taken, with the uid that could be read in it. */
export type StationAnswer =
  | { readonly body: StationBody }
  | { readonly refused: Problem; readonly uid: string | undefined };

/**
 * Asks a CPO which station one of its codes stands for (contract, section 5).
 * @throws Problem `incorrect-code`, `cpo-failed`, `cpo-timed-out`, `unavailable` (circuit open: not called)
 */
export async function askStation(
  ctx: Context,
  cpo: CallableCpo,
  payloadProtocol: PayloadProtocol,
  code: string,
  caller: Caller,
): Promise<StationAnswer> {
  const secrets = [code, cpo.token ?? ''].filter((secret) => secret !== '');
  try {
    const answer = await ctx.calls.post(cpo, `/v1/cpo/${payloadProtocol}/pair`, { code }, caller);
    if (answer.status === 404) throw notFound(answer);
    if (answer.status !== 200) throw answered(answer.status);
    const read = readStation(ctx, payloadProtocol, answer, secrets);
    if (!(read instanceof Problem)) return { body: read };
    logFailure(ctx, cpo, payloadProtocol, caller, read);
    const uid = uidIn(answer.bytes);
    return { refused: read, uid: tells(uid, secrets) ? undefined : uid };
  } catch (error) {
    if (error instanceof Problem && error.type !== 'incorrect-code')
      logFailure(ctx, cpo, payloadProtocol, caller, error);
    throw error;
  }
}

function logFailure(ctx: Context, cpo: CallableCpo, payloadProtocol: string, { origin }: Caller, problem: Problem) {
  ctx.events.cpoCallFailed({ cpo_id: cpo.id, payload_protocol: payloadProtocol }, origin, problem.message);
}

/** A careless backend repeats what it is told: neither our token nor the code gets from there into an answer or the log. */
const tells = (text: unknown, secrets: readonly string[]) => secrets.some((secret) => String(text).includes(secret));

function readStation(
  ctx: Context,
  payloadProtocol: PayloadProtocol,
  answer: Answer,
  secrets: readonly string[],
): StationBody | Problem {
  const protocol = protocolOf(payloadProtocol);
  const encoding = String(answer.headers['content-encoding'] ?? 'identity');
  if (encoding.toLowerCase() !== 'identity')
    return new Problem('cpo-failed', {
      message: `The CPO answered 200 with Content-Encoding ${tells(encoding, secrets) ? '' : encoding.slice(0, 20)}, which we do not accept: we send Accept-Encoding: identity.`,
    });
  if (!/^application\/json\s*(;|$)/i.test(String(answer.headers['content-type'])))
    return new Problem('cpo-failed', { message: 'The CPO answered 200 with something that is not application/json.' });
  try {
    const json = parseJson(answer.bytes);
    // Of an object only its kind is shown, and a member `toString` would break its conversion to a string.
    const hides = (value: unknown) => typeof value !== 'object' && tells(value, secrets);
    const faults = [...ctx.calls.validate(protocol.answerSchema, json, hides), ...protocol.faults(json)];
    // Checked against the schema of this very protocol's answer.
    if (faults.length === 0) return json as StationBody;
    return faulty(faults);
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    const { pointer, message } = error.fault;
    return faulty([{ pointer: tells(unescapePointer(pointer), secrets) ? '' : pointer, message }]);
  }
}

function faulty(faults: readonly Fault[]): Problem {
  const told = faults.slice(0, TOLD_FAULTS).map((fault) => `${fault.pointer || 'the body'} ${shownTo(fault)}`);
  const more = faults.length > TOLD_FAULTS ? `; and ${faults.length - TOLD_FAULTS} more` : '';
  return new Problem('cpo-failed', { message: `The CPO answered 200 with faults: ${told.join('; ')}${more}.` });
}

/**
 * Notifies a CPO that a station of its is no longer paired; what it does not know (404, 410) it need not be told.
 * @throws Problem `cpo-failed`, `cpo-timed-out`, `unavailable` (circuit open: not called)
 */
export async function notifyUnpaired(
  ctx: Context,
  cpo: CallableCpo,
  payloadProtocol: string,
  uid: string,
  caller: Caller,
): Promise<void> {
  const path = `/v1/cpo/${protocolOf(payloadProtocol).unpairSegment}/${encodeURIComponent(uid)}/unpair`;
  const { status } = await ctx.calls.post(cpo, path, undefined, caller);
  if ((status < 200 || status > 299) && status !== 404 && status !== 410) throw answered(status);
}
