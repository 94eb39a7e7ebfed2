import type { RequestHandler } from 'express';
import { type OpenApiDocument, type OperationId, operationsOf, patternWords } from '../contract';
import { type Fault, MAX_FAULTS, Problem } from '../problems';

/** An error of express-openapi-validator: a path that begins with body, params, query or headers. */
type ValidatorFault = { path: string; message: string; errorCode?: string };

/** Faults of a request that the contract states in words and a JSON Schema cannot. */
export type Rules = Partial<Record<OperationId, (body: unknown) => Fault[]>>;

/** Runs the validator and the rules, and refuses with every fault of both in words (step 4 of the contract's section 3). */
export function checkRequest(validator: RequestHandler, document: OpenApiDocument, rules: Rules): RequestHandler {
  const patterns = patternWords(document);
  return (req, res, next) =>
    validator(req, res, (error?: unknown) => {
      const operation = req.openapi?.schema.operationId as OperationId | undefined;
      const broken = (operation && rules[operation]?.(req.body)) ?? [];
      const found = validatorFaults(error);
      if (error !== undefined && found === undefined) return next(error);
      if (error === undefined && broken.length === 0) return next();
      const where = { body: req.body, params: req.params, query: req.query, headers: req.headers };
      const told = (found ?? []).slice(0, MAX_FAULTS).map((fault) => inWords(fault, where, patterns));
      return next(refusal([...told, ...broken], (found?.length ?? 0) + broken.length, document, operation));
    });
}

function validatorFaults(error: unknown): ValidatorFault[] | undefined {
  if (typeof error !== 'object' || error === null || !('errors' in error)) return undefined;
  return 'status' in error && error.status === 400 ? (error.errors as ValidatorFault[]) : undefined;
}

function refusal(
  errors: Fault[],
  count: number,
  document: OpenApiDocument,
  operation: OperationId | undefined,
): Problem {
  if (errors.some(({ pointer }) => pointer === '/payload-protocol')) {
    const known = knownProtocols(document, operation);
    return new Problem('unsupported-protocol', {
      message: `Unknown payload-protocol, known are: ${known.join(', ')}.`,
      errors,
    });
  }
  const shown = count > MAX_FAULTS ? `the first ${MAX_FAULTS} are in errors` : 'see errors';
  return new Problem('invalid-request', {
    message: `The request has ${count === 1 ? 'a fault' : `${count} faults`}, ${shown}.`,
    errors,
  });
}

function knownProtocols(document: OpenApiDocument, operation: OperationId | undefined): string[] {
  const siblings = operationsOf(document).filter(({ path }) => /^\/v1\/scsp\/[^/]+\/pair$/.test(path));
  const schema = document.components.parameters?.PayloadProtocol as { schema: { enum: string[] } };
  const literal = siblings.filter(({ id, path }) => id !== operation && !path.includes('{'));
  return [...schema.schema.enum, ...literal.map(({ path }) => path.split('/')[3] ?? '')];
}

const unescapePointer = (segment: string) => segment.replaceAll('~1', '/').replaceAll('~0', '~');

function inWords(
  fault: ValidatorFault,
  where: Record<string, unknown>,
  patterns: ReadonlyMap<string, string>,
): Fault {
  const [, part = '', ...segments] = fault.path.split('/');
  const pointer = segments.map((segment) => `/${segment}`).join('');
  let value: unknown = where[part];
  for (const segment of segments)
    value = typeof value === 'object' && value !== null ? Reflect.get(value, unescapePointer(segment)) : undefined;
  return { pointer, message: words(fault, value, pointer === '/code', patterns) };
}

/** @param secret the value must not be told back: a pairing code never stands in an error */
function words(
  { message, errorCode = '' }: ValidatorFault,
  value: unknown,
  secret: boolean,
  patterns: ReadonlyMap<string, string>,
): string {
  const got = value === undefined ? '' : `, got ${secret ? kindOf(value) : show(value)}`;
  const number = /-?[\d.]+$/.exec(message)?.[0];
  switch (errorCode.split('.')[0]) {
    case 'required':
      return 'is required';
    case 'type': {
      const quotes = message === 'must be string' && typeof value === 'number';
      return `must be ${withArticle(message.replace('must be ', ''))}${got}${quotes ? ': put it in quotes (leading zeros count)' : ''}`;
    }
    case 'enum':
      return `must be one of ${message.split(': ')[1]}${got}`;
    case 'minimum':
      return `must be at least ${number}${got}`;
    case 'maximum':
      return `must be at most ${number}${got}`;
    case 'pattern':
      return `${patterns.get(/^must match pattern "(.*)"$/s.exec(message)?.[1] ?? '') ?? message}${got}`;
    case 'format':
      return `must be a ${/"(.*)"/.exec(message)?.[1]}${got}`;
    default:
      // must NOT have fewer than 1 items, must NOT have more than 48 characters
      return message
        .replace(/^must NOT have fewer than (\d+)/, 'must have at least $1')
        .replace(/^must NOT have more than (\d+)/, 'must have at most $1')
        .replace(/\b1 (item|character)s$/, '1 $1');
  }
}

const withArticle = (type: string) => (/^[aeio]/.test(type) ? `an ${type}` : `a ${type}`);

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return withArticle(typeof value);
}

function show(value: unknown): string {
  if (typeof value === 'object') return kindOf(value);
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
