import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { newSpan, type TraceContext, writeTraceparent } from '../../contract/trace-context';
import type { ValidateJson } from '../../contract/validate-json';
import { type PayloadProtocol, protocolOf } from '../../protocols';
import type { Caller } from './caller';
import type { CpoCodes } from './codes-file';
import { type Answered, CheckFailed, type Exchange, isAnswered, type Sent } from './exchange';
import type { Gate } from './gates';
import type { Target } from './target';

/** A request, as far as it differs from what the service sends. */
export type Request = {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  /** The value of `Authorization`; null for none. The token's own by default. */
  readonly authorization?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
};

/** A station that the run has paired. */
export type PairedStation = { readonly protocol: PayloadProtocol; readonly uid: string };

/** What a run has and knows. */
export type Kit = {
  readonly target: Target;
  readonly token: string;
  readonly codes: CpoCodes;
  readonly protocols: readonly [PayloadProtocol, ...PayloadProtocol[]];
  readonly userAgent: string;
  /** The trace of the request that started the run; undefined: each request begins one. */
  readonly trace: TraceContext | undefined;
  readonly caller: Caller;
  readonly validate: ValidateJson;
  /** The first of the conditions for any call that is not met. */
  readonly gate: Gate | undefined;
  /** The codes of `good` that have not been sent. */
  readonly unusedCodes: string[];
  /** The stations that the run has paired and not unpaired. */
  readonly stations: PairedStation[];
  /** Results that several checks share, by name. */
  readonly shared: Map<string, Promise<unknown>>;
};

/** Returns the shared result of this name, which is computed once for a run. */
export function once<T>(kit: Kit, name: string, compute: () => Promise<T>): Promise<T> {
  // The name determines the type: each is used by one caller of this function.
  const known = kit.shared.get(name) as Promise<T> | undefined;
  const result = known ?? compute();
  kit.shared.set(name, result);
  return result;
}

export const pairPath = (protocol: PayloadProtocol) => `/v1/cpo/${protocol}/pair`;
export const unpairPath = (protocol: PayloadProtocol, uid: string) =>
  `/v1/cpo/${protocolOf(protocol).unpairSegment}/${encodeURIComponent(uid)}/unpair`;
export const pairBody = (code: string, more: object = {}) => JSON.stringify({ code, ...more });

/** Returns a code that no CPO has issued: twelve digits. */
export const incorrectCode = () => `9${randomInt(1e11).toString().padStart(11, '0')}`;
/** Returns a uid that no CPO knows. */
export const unknownUid = () => `scsp-kit-${randomBytes(8).toString('hex')}`;

/** Returns a request to each path that the run checks: pair in each protocol, unpair of either format. */
export function requestsToAll({ protocols }: Kit): Request[] {
  const uid = unknownUid();
  const unpairs = new Set(protocols.map((protocol) => unpairPath(protocol, uid)));
  return [
    ...protocols.map((protocol) => ({ path: pairPath(protocol), body: pairBody(incorrectCode()) })),
    ...[...unpairs].map((path) => ({ path })),
  ];
}

/** Completes a request with the headers that the service sends. */
export function complete(kit: Kit, request: Request): Sent {
  const { method = 'POST', path, authorization = `Bearer ${kit.token}`, headers, body } = request;
  return {
    method,
    url: kit.target.baseUrl + path,
    headers: {
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': kit.userAgent,
      'x-request-id': randomUUID(),
      traceparent: writeTraceparent(newSpan({ requestId: randomUUID }, kit.trace)),
      ...(authorization !== null && { authorization }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    body,
  };
}

/** Sends a request. @throws CheckNotRun */
export const exchange = (kit: Kit, request: Request): Promise<Exchange> => kit.caller.send(complete(kit, request));

/** Sends a request and returns the response. @throws CheckFailed without one, CheckNotRun */
export async function send(kit: Kit, request: Request): Promise<Answered> {
  return requireAnswer(await exchange(kit, request));
}

/** Sends requests at once and returns the responses. @throws CheckFailed without one of them, CheckNotRun */
export async function sendAtOnce(kit: Kit, requests: readonly Request[]): Promise<Answered[]> {
  const exchanges = await kit.caller.sendAtOnce(requests.map((request) => complete(kit, request)));
  return exchanges.map(requireAnswer);
}

function requireAnswer(one: Exchange): Answered {
  if (isAnswered(one)) return one;
  throw new CheckFailed(one.failure?.reason ?? 'no response', one);
}

/** Returns the message in the body of an error, undefined without one. */
export function messageIn(bytes: Buffer): string | undefined {
  try {
    const { message }: { message?: unknown } = Object(JSON.parse(bytes.toString('utf8')));
    return typeof message === 'string' && message.trim() !== '' ? message : undefined;
  } catch {
    return undefined;
  }
}

/** @throws CheckFailed when the status is none of those */
export function expectStatus(one: Answered, statuses: readonly number[], when: string): void {
  if (statuses.includes(one.answer.status)) return;
  throw new CheckFailed(`${when}: expected ${statuses.join(' or ')}, got ${one.answer.status}`, one);
}
