import Ajv from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { MAX_VALIDATION_ERRORS, type ValidationError } from '../problems';
import { dereference, type OpenApiDocument, patternMessages } from './document';
import { formats } from './formats';
import { bodyNormalizer } from './normalize-body';
import { evaluatePointer, toValidationError } from './validation-errors';

/**
 * Validates a JSON value against a schema of the contract and normalises it in place.
 * @param isSecret whether a value must not appear in an error
 * @returns at most 100 validation errors, worded like those of an incoming request
 */
export type ValidateJson = (
  schemaName: string,
  json: unknown,
  isSecret: (value: unknown) => boolean,
) => ValidationError[];

/** Creates a validator for JSON that does not pass through the HTTP server, such as the responses of CPOs. */
export function jsonValidator(document: OpenApiDocument): ValidateJson {
  const ajv = new Ajv({ strict: false, allErrors: true, formats });
  addFormats(ajv);
  const patterns = patternMessages(document);
  const compile = (name: string) => {
    const schema = Object(document.components.schemas?.[name]);
    // Dereferenced, because ajv copies all previous errors at each $ref.
    return { validate: ajv.compile(dereference(document, schema)), normalize: bodyNormalizer(document, schema) };
  };
  const compiled = new Map<string, ReturnType<typeof compile>>();
  return (name, json, isSecret) => {
    const { validate, normalize } = compiled.get(name) ?? compile(name);
    compiled.set(name, { validate, normalize });
    normalize(json);
    if (validate(json)) return [];
    return (validate.errors ?? [])
      .slice(0, MAX_VALIDATION_ERRORS)
      .map(({ instancePath, message = '', keyword, params }) => {
        const pointer = keyword === 'required' ? `${instancePath}/${params.missingProperty}` : instancePath;
        const allowed = keyword === 'enum' ? `: ${params.allowedValues.join(', ')}` : '';
        const value = evaluatePointer(json, pointer);
        return toValidationError(
          { pointer, message: message + allowed, keyword },
          isSecret(value) ? undefined : value,
          patterns,
        );
      });
  };
}
