import type { CpoCodes } from '../../conformance/cpo/codes-file';
import { JsonError, parseJson } from '../../contract/parse-json';
import type { ValidateJson } from '../../contract/validate-json';
import { Problem, type ValidationError } from '../../problems';

/**
 * Reads the codes for a run of the checks, which are JSON in a field of a form, as the API would.
 * @throws Problem `invalid-request`, without any code
 */
export function readCodes(validate: ValidateJson, text: string): CpoCodes | undefined {
  if (text.trim() === '') return undefined;
  const request = { codes: parse(text) };
  const errors = validate('CertificationRunRequest', request, () => true);
  if (errors.length > 0) throw invalid(errors);
  return Object(request.codes);
}

function parse(text: string): unknown {
  try {
    return parseJson(Buffer.from(text));
  } catch (error) {
    if (error instanceof JsonError) throw invalid([{ pointer: '/codes', message: 'must be JSON' }]);
    throw error;
  }
}

function invalid(errors: readonly ValidationError[]): Problem {
  return new Problem('invalid-request', { message: 'The codes are not valid.', errors });
}
