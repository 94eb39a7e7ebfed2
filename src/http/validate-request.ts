import type { Request, RequestHandler } from 'express';
import { type OpenApiDocument, type OperationId, operationsOf, patternMessages } from '../contract/document';
import { bodyNormalizer } from '../contract/normalize-body';
import { evaluatePointer, formatValue, toValidationError } from '../contract/validation-errors';
import { MAX_VALIDATION_ERRORS, Problem, type ValidationError } from '../problems';

/** An error of express-openapi-validator: a path that begins with body, params, query or headers. */
type ValidatorError = { path: string; message: string; errorCode?: string };

/** Validation errors that the contract states in words and a JSON Schema cannot. */
export type Rules = Partial<Record<OperationId, (body: unknown) => ValidationError[]>>;

/** Runs the validator and the rules, and refuses with all validation errors of both (contract, section 3, step 4). */
export function validateRequest(validator: RequestHandler, document: OpenApiDocument, rules: Rules): RequestHandler {
  const patterns = patternMessages(document);
  const protocols = knownProtocols(document);
  const normalizers = new Map(
    operationsOf(document).map(({ id, operation }) => [id, bodyNormalizer(document, bodySchema(operation))]),
  );
  return (req, res, next) => {
    const operation = req.openapi?.schema.operationId as OperationId | undefined;
    if (operation !== undefined) normalizers.get(operation)?.(req.body);
    return validator(req, res, (error?: unknown) => {
      const found = validatorErrors(error);
      if (error !== undefined && found === undefined) return next(error);
      if (found?.some(({ path }) => path === PROTOCOL)) return next(unsupportedProtocol(protocols, req.params));
      const broken = (operation && rules[operation]?.(req.body)) ?? [];
      if (error === undefined && broken.length === 0) return next();
      const parts: Record<string, unknown> = {
        body: req.body,
        params: req.params,
        query: req.query,
        headers: req.headers,
      };
      const worded = (found ?? []).slice(0, MAX_VALIDATION_ERRORS).map(({ path, message, errorCode = '' }) => {
        const [, part = '', ...segments] = path.split('/');
        const pointer = segments.map((segment) => `/${segment}`).join('');
        const keyword = errorCode.split('.')[0] ?? '';
        return toValidationError({ pointer, message, keyword }, evaluatePointer(parts[part], pointer), patterns);
      });
      return next(invalidRequest([...worded, ...broken], (found?.length ?? 0) + broken.length));
    });
  };
}

/** Returns the schema of an operation's body, an empty one for an operation without a body. */
function bodySchema(operation: object): object {
  const { requestBody } = operation as { requestBody?: { content: { 'application/json'?: { schema: object } } } };
  return requestBody?.content['application/json']?.schema ?? {};
}

function validatorErrors(error: unknown): ValidatorError[] | undefined {
  if (typeof error !== 'object' || error === null || !('errors' in error)) return undefined;
  return 'status' in error && error.status === 400 ? (error.errors as ValidatorError[]) : undefined;
}

function invalidRequest(errors: ValidationError[], count: number): Problem {
  // Lists that are too long were cut, so there may be more errors than were counted.
  if (count > MAX_VALIDATION_ERRORS)
    return new Problem('invalid-request', {
      message: `The request has more than ${MAX_VALIDATION_ERRORS} validation errors, the first ${MAX_VALIDATION_ERRORS} are in errors.`,
      errors,
    });
  const message = `The request has ${count === 1 ? 'a validation error' : `${count} validation errors`}, see errors.`;
  return new Problem('invalid-request', { message, errors });
}

const PROTOCOL = '/params/payload-protocol';

/** Leaves out the errors of the body, which was validated as that of another protocol. */
function unsupportedProtocol(protocols: readonly string[], { 'payload-protocol': given }: Request['params']): Problem {
  const message = `must be one of ${protocols.join(', ')}`;
  return new Problem('unsupported-protocol', {
    message: `Unsupported payload protocol. Supported: ${protocols.join(', ')}.`,
    errors: [{ pointer: '/payload-protocol', message, got: formatValue(given) }],
  });
}

/** Returns the protocols of the path parameter, and those with a literal path. */
function knownProtocols(document: OpenApiDocument): string[] {
  const parameter = document.components.parameters?.PayloadProtocol as { schema: { enum: string[] } };
  const paths = operationsOf(document).map(({ path }) => /^\/v1\/scsp\/([^/{]+)\/pair$/.exec(path)?.[1]);
  return [...parameter.schema.enum, ...paths.filter((protocol) => protocol !== undefined)];
}
