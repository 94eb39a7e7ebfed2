import express, { type Express, type Request, type RequestHandler, type Response } from 'express';
import type { RefusedAttempts } from '../attempts/refused-attempts';
import type { Context } from '../context';
import {
  type Handlers,
  type OpenApiDocument,
  type OperationId,
  operationsOf,
  type SandboxHandlers,
  servedBy,
} from '../contract/document';
import { Problem } from '../problems';
import { ocpi } from '../protocols/ocpi';
import { ocpp } from '../protocols/ocpp';
import { siteAssets } from '../site/assets';
import type { TokenRegistry } from '../tokens/registry';
import { readBody, takesBody } from './body';
import { stillAllowed } from './client-disconnect';
import { errorResponse } from './error-response';
import { createLoadShedding, type LoadLimits } from './load-shedding';
import { longPolls } from './long-polls';
import { normalizeRequest } from './normalize-request';
import { keepCodeOutOfIds, PROBES, requestLog } from './request-log';
import { type Rules, validateRequest } from './validate-request';
import { createValidator } from './validator';

/** The compiler reports an operation that pairs and is missing here. */
const rules: Required<Pick<Rules, Extract<OperationId, `pair${string}`>>> = {
  pairOcpp: ocpp.semanticErrors,
  pairOcpi22: ocpi.semanticErrors,
  pairOcpi221: ocpi.semanticErrors,
  pairOcpi230: ocpi.semanticErrors,
};

/**
 * `observe` sees every request before it is checked, `findSession` authenticates the forms of the page, `limitWrites` sees the
 * requests that are authenticated.
 */
export type SandboxSteps = Readonly<Partial<Record<'observe' | 'findSession' | 'limitWrites', RequestHandler>>>;

const pass: RequestHandler = (_req, _res, next) => next();

/**
 * Creates the Express app. The order of its checks is part of the contract (section 3); numbers are those of its table.
 * @param sandbox the steps that a sandbox deployment adds
 */
export function createApp(
  ctx: Context,
  document: OpenApiDocument,
  registry: TokenRegistry,
  refused: RefusedAttempts,
  handlers: Handlers & Partial<SandboxHandlers>,
  limits: LoadLimits,
  sandbox: SandboxSteps = {},
): Express {
  const contract = servedBy(document, 'scsp');
  const validator = createValidator(contract, registry, !ctx.config.production);
  const load = createLoadShedding(limits, ctx.metrics);
  const app = express();
  app.disable('x-powered-by').disable('etag');
  app.enable('case sensitive routing');
  app.set('trust proxy', [...ctx.config.trustedProxies]);

  app.use(requestLog(ctx));
  app.use(sandbox.observe ?? pass);
  app.use(normalizeRequest);
  app.use(siteAssets(load.pages, ctx.config));
  app.use(validator.findOperation);
  app.use(validator.authorize); // 1, 2
  app.use(sandbox.findSession ?? pass);
  app.use(refused.watch);
  app.use(sandbox.limitWrites ?? pass);
  app.use(when(takesBody, load.bodies));
  app.use(readBody); // 3
  app.use(keepCodeOutOfIds(ctx));
  app.use(when(takesBody, allowedStill));
  app.use(when(isAuthenticated, load.requests)); // 3b
  app.use(when(isPage, load.pages));
  app.use(validateRequest(validator.validateRequest, contract, rules)); // 4
  app.use(longPolls(registry, ctx.stopping, load.longPolls));
  app.use(validator.validateResponse);
  app.use(dispatch(contract, handlers)); // 5 to 8
  app.use(errorResponse(ctx));
  return app;
}

/** Runs a step for some requests only. */
function when(applies: (req: Request, res: Response) => boolean, step: RequestHandler): RequestHandler {
  return (req, res, next) => (applies(req, res) ? step(req, res, next) : next());
}

const isAuthenticated = (_req: Request, res: Response) => res.locals.caller !== undefined;

/** Probes are answered whatever the load is. */
const isPage = (req: Request, res: Response) =>
  !isAuthenticated(req, res) && !PROBES.has(req.openapi?.schema.operationId ?? '');

/** Checks the token again after the body has arrived, which may have taken its time. */
const allowedStill: RequestHandler = async (_req, res, next) => {
  await stillAllowed(res);
  next();
};

/** Calls the handler of the operation that the validator has found. */
function dispatch(document: OpenApiDocument, handlers: Handlers & Partial<SandboxHandlers>): RequestHandler {
  const missing = operationsOf(document).filter(({ id }) => !(id in handlers));
  if (missing.length > 0) throw new TypeError(`no handler for ${missing.map(({ id }) => id).join(', ')}`);
  // The validator has made the request what the handler of this very operation takes.
  const byId = handlers as unknown as Record<OperationId, RequestHandler>;
  return async (req, res, next) => {
    const id = req.openapi?.schema.operationId as OperationId | undefined;
    if (id === undefined) throw new Problem('not-found');
    // Express empties the parameters from one step to the next.
    req.params = req.openapi?.pathParams ?? {};
    await byId[id](req, res, next);
  };
}
