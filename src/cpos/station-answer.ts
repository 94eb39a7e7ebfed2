import { JsonError, parseJson } from '../contract/parse-json';
import type { ValidateJson } from '../contract/validate-json';
import { unescapePointer } from '../contract/validation-errors';
import { Problem, shownTo, type ValidationError } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import type { Answer } from './answer';

/** The number of validation errors of an answer that a message names. */
const SHOWN_ERRORS = 5;

/**
 * Returns whether a text contains a secret. A careless backend echoes what it is sent: neither our token nor the code
 * may get from there into a response or the log.
 */
export const containsSecret = (text: unknown, secrets: readonly string[]): boolean =>
  secrets.some((secret) => String(text).includes(secret));

/**
 * Reads the station in a CPO's answer 200, checked as strictly as a CPO's own request (contract, section 5).
 * @param secrets what must not be shown of the answer
 * @returns the station, or the problem `cpo-failed` that says what was wrong
 */
export function readStation(
  validate: ValidateJson,
  payloadProtocol: PayloadProtocol,
  answer: Answer,
  secrets: readonly string[],
): StationBody | Problem {
  const protocol = protocolOf(payloadProtocol);
  const encoding = String(answer.headers['content-encoding'] ?? 'identity');
  if (encoding.toLowerCase() !== 'identity')
    return new Problem('cpo-failed', {
      message: `The CPO answered 200 with Content-Encoding ${containsSecret(encoding, secrets) ? '' : encoding.slice(0, 20)}, which we do not accept: we send Accept-Encoding: identity.`,
    });
  if (!/^application\/json\s*(;|$)/i.test(String(answer.headers['content-type'])))
    return new Problem('cpo-failed', { message: 'The CPO answered 200 with something that is not application/json.' });
  try {
    const json = parseJson(answer.bytes);
    // Of an object only its kind is shown, and a member `toString` would break its conversion to a string.
    const hides = (value: unknown) => typeof value !== 'object' && containsSecret(value, secrets);
    const errors = [...validate(protocol.responseSchema, json, hides), ...protocol.semanticErrors(json)];
    // Checked against the schema of this very protocol's answer.
    if (errors.length === 0) return json as StationBody;
    return invalidAnswer(errors);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    const { pointer, message } = error.validationError;
    return invalidAnswer([{ pointer: containsSecret(unescapePointer(pointer), secrets) ? '' : pointer, message }]);
  }
}

function invalidAnswer(errors: readonly ValidationError[]): Problem {
  const shown = errors.slice(0, SHOWN_ERRORS).map((error) => `${error.pointer || 'the body'} ${shownTo(error)}`);
  const more = errors.length > SHOWN_ERRORS ? `; and ${errors.length - SHOWN_ERRORS} more` : '';
  return new Problem('cpo-failed', {
    message: `The CPO answered 200 with validation errors: ${shown.join('; ')}${more}.`,
  });
}
