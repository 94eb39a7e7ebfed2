import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { normalizeCode } from '../../codes/code';
import { JsonError, parseJson } from '../../contract/parse-json';
import type { ValidateJson } from '../../contract/validate-json';
import type { ValidationError } from '../../problems';
import { isPayloadProtocol, protocolOf } from '../../protocols';
import { isTestCode, type ObservedRequest, restoredTestCode } from './observed';
import type { PairRequest } from './replies';

/** What a request is, by its path. */
export type Target = Pick<ObservedRequest, 'operation' | 'protocol' | 'uid' | 'uidEncoding'>;

const PAIR = /^\/v1\/scsp\/([^/]+)\/pair$/;
const UNPAIR = /^\/v1\/scsp\/(?:chargingstations|evse)\/(?:([^/]*)\/unpair$)?/;
const LIST = '/v1/scsp/charging-stations';
const SHOWN_ERRORS = 3;
/** Longer ones are not legal, and are not kept. */
const LONGEST_UID = 48;

/** Returns the operation of a path. A path that only begins like that of an unpair has a `uid` that was not encoded. */
export function targetOf(path: string, isPaired: (uid: string) => boolean): Target {
  if (path.startsWith('/elsewhere/')) return { operation: 'redirected' };
  if (path === LIST) return { operation: 'list' };
  const protocol = PAIR.exec(path)?.[1];
  if (protocol !== undefined && isPayloadProtocol(protocol)) return { operation: 'pair', protocol };
  const unpair = UNPAIR.exec(path);
  if (unpair === null) return { operation: 'other' };
  const uid = decoded(unpair[1]);
  if (uid === undefined) return { operation: 'unpair', uidEncoding: 'none' };
  const twice = decoded(uid);
  const isTwice = twice !== undefined && twice !== uid && isPaired(twice);
  return { operation: 'unpair', uid: isTwice ? twice : uid, uidEncoding: isTwice ? 'twice' : 'once' };
}

function decoded(segment: string | undefined): string | undefined {
  try {
    return segment === undefined || segment === '' ? undefined : decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

/** Returns where the token was. */
export function tokenIn(
  req: IncomingMessage,
  body: string,
  token: string,
): Pick<ObservedRequest, 'token' | 'tokenAlsoIn'> {
  const { authorization, ...others } = req.headers;
  const sent = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  const elsewhere = [
    ['address', req.url ?? ''],
    ['body', body],
    ['another header', JSON.stringify(others)],
  ] as const;
  const tokenAlsoIn = elsewhere.find(([, text]) => text.includes(token))?.[0];
  return {
    token: sent === token ? 'header' : authorization === undefined ? 'missing' : 'unknown',
    ...(tokenAlsoIn !== undefined && { tokenAlsoIn }),
  };
}

/** Returns whether a body is uncompressed JSON, by its headers. */
export function isJson({ headers }: IncomingMessage): boolean {
  const encoding = headers['content-encoding'] ?? 'identity';
  return /^application\/json *(;|$)/i.test(headers['content-type'] ?? '') && encoding === 'identity';
}

/** Hashes an `Idempotency-Key`, which is the same with and without its quotes. */
export function keyHashOf({ headers }: IncomingMessage): string | undefined {
  const key = headers['idempotency-key'];
  if (typeof key !== 'string') return undefined;
  return createHash('sha256')
    .update(key.replace(/^"(.*)"$/, '$1'))
    .digest('hex')
    .slice(0, 16);
}

/** What the body of a pair request says. */
export type PairBody = Pick<ObservedRequest, 'uid' | 'code' | 'codeSentAs' | 'errors'> & {
  /** Undefined if code or `uid` could not be read. */
  readonly request?: Pick<PairRequest, 'code' | 'uid' | 'station'>;
};

/** Reads the body of a pair request as tolerantly as possible, and says what is wrong with it. */
export function readPairBody(validate: ValidateJson, protocol: string, bytes: Uint8Array): PairBody {
  if (!isPayloadProtocol(protocol)) return {};
  const { unpairSegment, semanticErrors } = protocolOf(protocol);
  const [schema, member] =
    unpairSegment === 'evse' ? ['PairOcpiRequest', 'evse'] : ['PairOcppRequest', 'charging_station'];
  try {
    const json = parseJson(bytes);
    const found = validate(schema, json, (value) => typeof value !== 'object');
    const sent: unknown = Reflect.get(Object(json), 'code');
    const station: unknown = Reflect.get(Object(json), member);
    const uid: unknown = Reflect.get(Object(station), 'uid');
    const hasUid = typeof uid === 'string' && uid.length <= LONGEST_UID;
    const code = readCode(sent);
    const errors = [...found, ...semanticErrors(json)];
    return {
      ...(hasUid && { uid }),
      ...(errors.length > 0 && { errors: errors.slice(0, SHOWN_ERRORS) }),
      ...(code !== undefined && { codeSentAs: code.sentAs }),
      ...(code !== undefined && isTestCode(code.code) && { code: code.code }),
      ...(code !== undefined && hasUid && { request: { code: code.code, uid, station: { [member]: station } } }),
    };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    const errors: readonly ValidationError[] = [error.validationError];
    return { errors };
  }
}

/** Returns the code as it was typed, and how it was sent. */
function readCode(sent: unknown): { code: string; sentAs: NonNullable<ObservedRequest['codeSentAs']> } | undefined {
  if (typeof sent === 'number') return { code: restoredTestCode(String(sent)) ?? String(sent), sentAs: 'number' };
  if (typeof sent !== 'string') return undefined;
  const code = normalizeCode(sent);
  const restored = restoredTestCode(code);
  return restored === undefined ? { code, sentAs: 'string' } : { code: restored, sentAs: 'shortened' };
}
