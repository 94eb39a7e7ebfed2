import Ajv from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { MAX_VALIDATION_ERRORS, type ValidationError } from '../problems';
import { inlined, type OpenApiDocument, patternWords } from './document';
import { formats } from './formats';
import { bodyNormalizer } from './normalize-body';
import { evaluatePointer, inWords } from './validation-errors';

/**
 * Returns the validation errors of a JSON value by a schema of the contract, at most 100, as a caller's own request
 * would get them. The value is normalised in place.
 * @param hides whether a value must not be shown
 */
export type ValidateJson = (schemaName: string, json: unknown, hides: (value: unknown) => boolean) => ValidationError[];

/** For bodies that do not arrive by the HTTP server: those of CPOs' answers. */
export function jsonValidator(document: OpenApiDocument): ValidateJson {
  const ajv = new Ajv({ strict: false, allErrors: true, formats });
  addFormats(ajv);
  const patterns = patternWords(document);
  const compile = (name: string) => {
    const schema = Object(document.components.schemas?.[name]);
    // Inlined, because ajv copies all errors found so far at each $ref.
    return { validate: ajv.compile(inlined(document, schema)), normalize: bodyNormalizer(document, schema) };
  };
  const compiled = new Map<string, ReturnType<typeof compile>>();
  return (name, json, hides) => {
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
        return inWords({ pointer, message: message + allowed, keyword }, hides(value) ? undefined : value, patterns);
      });
  };
}
