import type { RequestHandler } from 'express';
import { type OpenApiDocument, type OperationId, operationsOf, patternWords } from '../contract';
import { inWords, valueAt } from '../faults';
import { type Fault, MAX_FAULTS, Problem } from '../problems';

/** An error of express-openapi-validator: a path that begins with body, params, query or headers. */
type ValidatorFault = { path: string; message: string; errorCode?: string };

/** Faults of a request that the contract states in words and a JSON Schema cannot. */
export type Rules = Partial<Record<OperationId, (body: unknown) => Fault[]>>;

/** Runs the validator and the rules, and refuses with every fault of both in words (contract, section 3, step 4). */
export function checkRequest(validator: RequestHandler, document: OpenApiDocument, rules: Rules): RequestHandler {
  const patterns = patternWords(document);
  const protocols = knownProtocols(document);
  return (req, res, next) =>
    validator(req, res, (error?: unknown) => {
      const operation = req.openapi?.schema.operationId as OperationId | undefined;
      const broken = (operation && rules[operation]?.(req.body)) ?? [];
      const found = validatorFaults(error);
      if (error !== undefined && found === undefined) return next(error);
      if (error === undefined && broken.length === 0) return next();
      const parts: Record<string, unknown> = {
        body: req.body,
        params: req.params,
        query: req.query,
        headers: req.headers,
      };
      const told = (found ?? []).slice(0, MAX_FAULTS).map(({ path, message, errorCode = '' }) => {
        const [, part = '', ...segments] = path.split('/');
        const pointer = segments.map((segment) => `/${segment}`).join('');
        const keyword = errorCode.split('.')[0] ?? '';
        return inWords({ pointer, message, keyword }, valueAt(parts[part], pointer), patterns);
      });
      return next(refusal([...told, ...broken], (found?.length ?? 0) + broken.length, protocols));
    });
}

function validatorFaults(error: unknown): ValidatorFault[] | undefined {
  if (typeof error !== 'object' || error === null || !('errors' in error)) return undefined;
  return 'status' in error && error.status === 400 ? (error.errors as ValidatorFault[]) : undefined;
}

function refusal(errors: Fault[], count: number, protocols: string[]): Problem {
  if (errors.some(({ pointer }) => pointer === '/payload-protocol')) {
    const message = `Unknown payload-protocol, known are: ${protocols.join(', ')}.`;
    return new Problem('unsupported-protocol', { message, errors });
  }
  const shown = count > MAX_FAULTS ? `the first ${MAX_FAULTS} are in errors` : 'see errors';
  const message = `The request has ${count === 1 ? 'a fault' : `${count} faults`}, ${shown}.`;
  return new Problem('invalid-request', { message, errors });
}

/** Those of the path parameter and those that are a literal path of their own. */
function knownProtocols(document: OpenApiDocument): string[] {
  const parameter = document.components.parameters?.PayloadProtocol as { schema: { enum: string[] } };
  const paths = operationsOf(document).map(({ path }) => /^\/v1\/scsp\/([^/{]+)\/pair$/.exec(path)?.[1]);
  return [...parameter.schema.enum, ...paths.filter((protocol) => protocol !== undefined)];
}
