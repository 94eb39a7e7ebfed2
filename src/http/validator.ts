import type { RequestHandler } from 'express';
import { middleware } from 'express-openapi-validator';
import { type OpenApiDocument, toValidatorDocument } from '../contract/document';
import { formats } from '../contract/formats';
import type { TokenRegistry } from '../tokens/registry';
import { bearer } from './auth';

/** The steps of express-openapi-validator, to be run in this order. */
export type Validator = Readonly<
  Record<'findOperation' | 'authorize' | 'validateRequest' | 'validateResponse', RequestHandler>
>;

/** The names of its middleware functions. */
const STEPS = {
  findOperation: 'metadataMiddleware',
  authorize: 'securityMiddleware',
  validateRequest: 'requestMiddleware',
  validateResponse: 'responseMiddleware',
} as const satisfies Record<keyof Validator, string>;

/** Pairing in OCPP format, the operation with the most load, and the paths that certainly lead to it. */
const PAIR_PATH = '/v1/scsp/{payload-protocol}/pair';
const PAIR = /^\/v1\/scsp\/ocpp[\w.]*\/pair$/;

/**
 * Creates the validator of requests, and outside production of responses, against the contract.
 *
 * The library compiles all its paths anew for each request, one after the other, until one matches. Pairing in OCPP format
 * has a validator of its own, with a single path.
 */
export function createValidator(document: OpenApiDocument, registry: TokenRegistry, responses: boolean): Validator {
  const stepsOf = (part: OpenApiDocument) => {
    const all = middleware({
      apiSpec: toValidatorDocument(part) as never,
      validateApiSpec: true,
      validateRequests: { allErrors: true, allowUnknownQueryParameters: true },
      validateResponses: responses,
      validateSecurity: { handlers: { bearer: bearer(registry) } },
      formats,
      fileUploader: false,
    });
    // Its types describe its own view of a request.
    const byName = new Map(all.map((step) => [step.name, step as unknown as RequestHandler]));
    return (name: string): RequestHandler => {
      const step = byName.get(name);
      // A missing step would leave each request without a response.
      if (step === undefined) throw new TypeError(`express-openapi-validator has no ${name}`);
      return step;
    };
  };
  const pairing = stepsOf({ ...document, paths: { [PAIR_PATH]: document.paths[PAIR_PATH] ?? {} } });
  const others = stepsOf(document);
  const step = (name: string): RequestHandler => {
    const [forPairing, forOthers] = [pairing(name), others(name)];
    return (req, res, next) => (PAIR.test(req.originalUrl) ? forPairing : forOthers)(req, res, next);
  };
  return {
    findOperation: step(STEPS.findOperation),
    authorize: step(STEPS.authorize),
    validateRequest: step(STEPS.validateRequest),
    validateResponse: responses ? step(STEPS.validateResponse) : (_req, _res, next) => next(),
  };
}
