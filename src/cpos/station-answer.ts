import { JsonError, parseJson } from '../contract/parse-json';
import type { ValidateJson } from '../contract/validate-json';
import { unescapePointer } from '../contract/validation-errors';
import { Problem, shownTo, type ValidationError } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { type Answer, mediaTypeOf } from './answer';

/** The number of validation errors of a response that a message contains. */
const SHOWN_ERRORS = 5;

/**
 * Returns whether a text contains a secret. A CPO's backend may echo what it was sent; neither our token nor the code may get
 * into a response or the log that way.
 */
export const containsSecret = (text: unknown, secrets: readonly string[]): boolean =>
  secrets.some((secret) => String(text).includes(secret));

/** Returns whether a uid is the code, or contains the token, that was sent. A code may be part of it: CPOs name stations by codes. */
export const isEcho = (uid: string | undefined, code: string, token: string | undefined): boolean =>
  uid !== undefined && (uid === code || (token !== undefined && uid.includes(token)));

/** A response that was rejected, with all its validation errors. */
export type InvalidStation = { readonly problem: Problem; readonly errors: readonly ValidationError[] };

/**
 * Reads the station from a CPO's 200 response, validated as strictly as a request of a CPO (contract, section 5).
 * @param secrets values that must not appear in messages
 * @returns the station, or the problem `cpo-failed` and all validation errors
 */
export function readStation(
  validate: ValidateJson,
  payloadProtocol: PayloadProtocol,
  answer: Answer,
  secrets: readonly string[],
): { readonly body: StationBody } | InvalidStation {
  const protocol = protocolOf(payloadProtocol);
  const encoding = String(answer.headers['content-encoding'] ?? 'identity');
  if (encoding.toLowerCase() !== 'identity')
    return withoutBody('must have no Content-Encoding', {
      message: `The CPO answered 200 with Content-Encoding ${containsSecret(encoding, secrets) ? '' : encoding.slice(0, 20)}, which is not accepted: requests are sent with Accept-Encoding: identity.`,
    });
  if (mediaTypeOf(answer) !== 'application/json')
    return withoutBody('must have the media type application/json', {
      message: 'The CPO answered 200 with a media type other than application/json.',
    });
  try {
    const json = parseJson(answer.bytes);
    // Messages show only the type of an object. Converting one to a string would fail if it has a member `toString`.
    const hides = (value: unknown) => typeof value !== 'object' && containsSecret(value, secrets);
    const errors = [...validate(protocol.responseSchema, json, hides), ...protocol.semanticErrors(json)];
    // Checked against the schema of this very protocol's answer.
    if (errors.length === 0) return { body: json as StationBody };
    return invalidAnswer(errors);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    const { pointer, message } = error.validationError;
    const { problem } = invalidAnswer([
      { pointer: containsSecret(unescapePointer(pointer), secrets) ? '' : pointer, message },
    ]);
    // The pointer contains member names of a body that was not validated, so it is not stored.
    return { problem, errors: [{ pointer: '', message }] };
  }
}

/** Rejects a response whose body was not read. */
function withoutBody(message: string, details: { message: string }): InvalidStation {
  return { problem: new Problem('cpo-failed', details), errors: [{ pointer: '', message }] };
}

function invalidAnswer(errors: readonly ValidationError[]): InvalidStation {
  const shown = errors.slice(0, SHOWN_ERRORS).map((error) => `${error.pointer || 'the body'} ${shownTo(error)}`);
  const more = errors.length > SHOWN_ERRORS ? `; and ${errors.length - SHOWN_ERRORS} more` : '';
  const message = `The CPO answered 200 with validation errors: ${shown.join('; ')}${more}.`;
  return { problem: new Problem('cpo-failed', { message }), errors };
}
