import type { Request, RequestHandler } from 'express';
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

/** The other parts of the contract: the paths, and the URLs that lead to them, that begin with the first of these. */
const PREFIXES = ['/v1/app/webhook-endpoints', '/v1/app/', '/v1/scsp/', '/v1/', '/'];
const prefixOf = (path: string) => PREFIXES.find((prefix) => path.startsWith(prefix)) ?? '/';
const partOf = (url: string) => (PAIR.test(url) ? PAIR_PATH : prefixOf(url));

type Authenticate = ReturnType<typeof bearer>;

/** How the service that a request was sent to authenticates it. */
const authenticates = new WeakMap<Request, Authenticate>();

/** The validators of this process: services with the same contract share one, because it takes most of a start. */
const shared = new Map<string, Validator>();

/** Creates the validator of requests, and outside production of responses, against the contract. */
export function createValidator(document: OpenApiDocument, registry: TokenRegistry, responses: boolean): Validator {
  const key = JSON.stringify({ document, responses });
  const validator = shared.get(key) ?? compile(document, responses);
  shared.set(key, validator);
  const authenticate = bearer(registry);
  return {
    ...validator,
    authorize: (req, res, next) => {
      authenticates.set(req, authenticate);
      return validator.authorize(req, res, next);
    },
  };
}

/**
 * Compiles a validator for each part of the contract: in production at once, so that no request waits for it, otherwise when it is
 * first needed.
 * The library compiles all its paths anew for each request, one after the other, until one matches; and with response
 * validation it walks through all its paths and components once for each response of an operation.
 */
function compile(document: OpenApiDocument, responses: boolean): Validator {
  const parts = new Map<string, Validator>();
  const part = (name: string): Validator => {
    const known = parts.get(name);
    if (known !== undefined) return known;
    const paths = Object.entries(document.paths).filter(([path]) => path === name || prefixOf(path) === name);
    const compiled = compilePart({ ...document, paths: Object.fromEntries(paths) }, responses);
    parts.set(name, compiled);
    return compiled;
  };
  if (!responses) for (const name of [PAIR_PATH, ...PREFIXES]) part(name);
  const step =
    (name: keyof Validator): RequestHandler =>
    (req, res, next) =>
      part(partOf(req.originalUrl))[name](req, res, next);
  return {
    findOperation: step('findOperation'),
    authorize: step('authorize'),
    validateRequest: step('validateRequest'),
    validateResponse: step('validateResponse'),
  };
}

function compilePart(document: OpenApiDocument, responses: boolean): Validator {
  const all = middleware({
    apiSpec: toValidatorDocument(document) as never,
    validateApiSpec: true,
    validateRequests: { allErrors: true, allowUnknownQueryParameters: true },
    validateResponses: responses,
    validateSecurity: { handlers: { bearer: (req, roles) => authenticates.get(req)?.(req, roles) ?? false } },
    formats,
    fileUploader: false,
  });
  // Its types describe its own view of a request.
  const byName = new Map(all.map((step) => [step.name, step as unknown as RequestHandler]));
  const step = (name: keyof Validator): RequestHandler => {
    const found = byName.get(STEPS[name]);
    // A missing step would leave each request without a response.
    if (found === undefined) throw new TypeError(`express-openapi-validator has no ${STEPS[name]}`);
    return found;
  };
  return {
    findOperation: step('findOperation'),
    authorize: step('authorize'),
    validateRequest: step('validateRequest'),
    validateResponse: responses ? step('validateResponse') : (_req, _res, next) => next(),
  };
}
