import { BrokenCircuitError, ConsecutiveBreaker, circuitBreaker, handleAll, type IPolicy } from 'cockatiel';
import { Agent, type Dispatcher, request } from 'undici';
import type { Context } from '../context';
import type { OpenApiDocument } from '../contract';
import { jsonValidator, type ValidateJson } from '../contract/validate-json';
import { unescapePointer } from '../contract/validation-errors';
import { JsonFault, parseJson } from '../json';
import { type Fault, Problem, shownTo } from '../problems';
import { type PayloadProtocol, protocolOf, type StationBody } from '../protocols';
import { checkedLookup, ForbiddenAddress, literalAddress, mayCall } from './address';
import type { CallableCpo } from './cpos';

const DEADLINE_MS = 10_000;
const CONNECT_MS = 5_000;
const ANSWER_LIMIT = 65_536;
const FAILURES_TO_OPEN = 10;
const OPEN_MS = 30_000;
/** So many faults of an answer fit in a message. */
const TOLD_FAULTS = 5;

type Answer = { readonly status: number; readonly contentType: string; readonly bytes: Buffer };

/** What calls to CPOs share: connections, one circuit for each CPO, and the contract's view of their answers. */
export class CpoCalls {
  readonly #agent: Agent;
  readonly #circuits = new Map<string, { policy: IPolicy; openedAt: number }>();
  /** Validates the body of an answer, as a CPO's own request is validated. */
  readonly validate: ValidateJson;

  constructor(
    readonly sandbox: boolean,
    document: OpenApiDocument,
  ) {
    this.#agent = new Agent({ connect: { lookup: checkedLookup(sandbox), timeout: CONNECT_MS } });
    this.validate = jsonValidator(document);
  }

  /**
   * One POST, no redirect followed, never repeated.
   * @throws Problem `cpo-failed` (no connection, too large), `cpo-timed-out`
   */
  async post(cpo: CallableCpo, path: string, body: unknown, stopping?: AbortSignal): Promise<Answer> {
    const url = new URL(cpo.baseUrl + path);
    const literal = literalAddress(url);
    if (literal !== undefined && !mayCall(literal, this.sandbox))
      throw new Problem('cpo-failed', { message: FORBIDDEN });
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    try {
      const response = await request(url, {
        method: 'POST',
        dispatcher: this.#agent,
        signal: stopping === undefined ? deadline : AbortSignal.any([deadline, stopping]),
        headers: {
          accept: 'application/json',
          ...(cpo.token !== undefined && { authorization: `Bearer ${cpo.token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
      });
      const contentType = String(response.headers['content-type'] ?? '');
      return { status: response.statusCode, contentType, bytes: await readAll(response.body) };
    } catch (cause) {
      if (cause instanceof Problem) throw cause;
      if (deadline.aborted) throw new Problem('cpo-timed-out', { cause });
      const message = cause instanceof ForbiddenAddress ? FORBIDDEN : 'The CPO could not be reached.';
      throw new Problem('cpo-failed', { message, cause });
    }
  }

  /** Runs a call in the CPO's circuit, which opens when ten in a row throw. */
  async inCircuit<T>(cpoId: string, call: () => Promise<T>): Promise<T> {
    const circuit = this.#circuits.get(cpoId) ?? this.#newCircuit(cpoId);
    try {
      return await circuit.policy.execute(call);
    } catch (error) {
      if (!(error instanceof BrokenCircuitError)) throw error;
      const left = Math.ceil((circuit.openedAt + OPEN_MS - performance.now()) / 1000);
      throw new Problem('unavailable', {
        message: 'The CPO does not answer at the moment, please try again later.',
        headers: { 'Retry-After': String(Math.max(1, left)) },
      });
    }
  }

  #newCircuit(cpoId: string) {
    const policy = circuitBreaker(handleAll, {
      halfOpenAfter: OPEN_MS,
      breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN),
    });
    const circuit = { policy, openedAt: 0 };
    policy.onBreak(() => {
      circuit.openedAt = performance.now();
    });
    this.#circuits.set(cpoId, circuit);
    return circuit;
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

const FORBIDDEN = "The CPO's address is private or special and is not called.";

async function readAll(body: Dispatcher.ResponseData['body']): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    // Leaving the loop destroys the stream, and with it the connection.
    if (size > ANSWER_LIMIT)
      throw new Problem('cpo-failed', { message: `The CPO's answer is larger than ${ANSWER_LIMIT} bytes.` });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * Asks a CPO which station one of its codes stands for (contract, section 5).
 * @returns the checked member of the answer, to be read by the protocol
 * @throws Problem `incorrect-code`, `cpo-failed`, `cpo-timed-out`, `unavailable` (circuit open)
 */
export async function askStation(
  ctx: Context,
  cpo: CallableCpo,
  payloadProtocol: PayloadProtocol,
  code: string,
): Promise<StationBody> {
  try {
    const answer = await ctx.calls.inCircuit(cpo.id, async () => {
      const received = await ctx.calls.post(cpo, `/v1/cpo/${payloadProtocol}/pair`, { code });
      if (received.status >= 500) throw answered(received.status);
      return received;
    });
    if (answer.status === 404) throw new Problem('incorrect-code');
    if (answer.status !== 200) throw answered(answer.status);
    const secrets = [code, cpo.token ?? ''].filter((secret) => secret !== '');
    return readStation(ctx, payloadProtocol, answer, secrets);
  } catch (error) {
    if (error instanceof Problem && error.type !== 'incorrect-code')
      ctx.events.cpoCallFailed(cpo.id, payloadProtocol, error.message);
    throw error;
  }
}

/** A careless backend repeats what it is told: neither our token nor the code gets from there into an answer or the log. */
const tells = (text: unknown, secrets: readonly string[]) => secrets.some((secret) => String(text).includes(secret));

const answered = (status: number) => new Problem('cpo-failed', { message: `The CPO answered ${status}.` });

function readStation(
  ctx: Context,
  payloadProtocol: PayloadProtocol,
  answer: Answer,
  secrets: readonly string[],
): StationBody {
  const protocol = protocolOf(payloadProtocol);
  if (!/^application\/json\s*(;|$)/i.test(answer.contentType))
    throw new Problem('cpo-failed', { message: 'The CPO answered 200 with something that is not application/json.' });
  try {
    const json = parseJson(answer.bytes);
    // Of an object only its kind is shown, and a member `toString` would break its conversion to a string.
    const hides = (value: unknown) => typeof value !== 'object' && tells(value, secrets);
    const faults = [...ctx.calls.validate(protocol.answerSchema, json, hides), ...protocol.faults(json)];
    // Checked against the schema of this very protocol's answer.
    if (faults.length === 0) return json as StationBody;
    throw faulty(faults);
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    const { pointer, message } = error.fault;
    throw faulty([{ pointer: tells(unescapePointer(pointer), secrets) ? '' : pointer, message }]);
  }
}

function faulty(faults: readonly Fault[]): Problem {
  const told = faults.slice(0, TOLD_FAULTS).map((fault) => `${fault.pointer || 'the body'} ${shownTo(fault)}`);
  const more = faults.length > TOLD_FAULTS ? `; and ${faults.length - TOLD_FAULTS} more` : '';
  return new Problem('cpo-failed', { message: `The CPO answered 200 with faults: ${told.join('; ')}${more}.` });
}

/**
 * Tells a CPO that a station of its is no longer paired; 404 counts as told (contract, section 6).
 * @throws Problem `cpo-failed`, `cpo-timed-out`
 */
export async function tellUnpaired(
  ctx: Context,
  cpo: CallableCpo,
  payloadProtocol: string,
  uid: string,
): Promise<void> {
  const path = `/v1/cpo/${protocolOf(payloadProtocol).unpairSegment}/${encodeURIComponent(uid)}/unpair`;
  const { status } = await ctx.calls.post(cpo, path, undefined, ctx.stopping);
  if (status !== 200 && status !== 404) throw answered(status);
}
