import express, { type Express, type RequestHandler } from 'express';
import { middleware as validator } from 'express-openapi-validator';
import type { Context } from '../context';
import { type Handlers, type OpenApiDocument, type OperationId, operationsOf, routable, servedBy } from '../contract';
import { Problem } from '../problems';
import { ocpi } from '../protocols/ocpi';
import { ocpp } from '../protocols/ocpp';
import type { TokenRegistry } from '../tokens/tokens';
import { access } from './access';
import { bearer } from './auth';
import { readBody } from './body';
import { failure } from './failure';
import { checkRequest, type Rules } from './check';
import { pageAssets } from './pages';

const rules: Rules = {
  pairOcpp: ocpp.faults,
  pairOcpi22: ocpi.faults,
  pairOcpi221: ocpi.faults,
};

/** The way of a request, in order; the order of its checks is part of the contract (section 3). */
export function createApp(
  ctx: Context,
  document: OpenApiDocument,
  registry: TokenRegistry,
  handlers: Handlers,
): Express {
  const ours = servedBy(document, 'scsp');
  const app = express();
  app.disable('x-powered-by').disable('etag');
  app.enable('case sensitive routing');
  const contract = validator({
    apiSpec: routable(ours) as never,
    validateApiSpec: true,
    validateRequests: { allErrors: true, allowUnknownQueryParameters: true },
    validateResponses: !ctx.config.production,
    validateSecurity: { handlers: { bearer: bearer(registry) } },
    fileUploader: false,
  });
  // Its types know only its own view of a request.
  const named = (name: string) => contract.filter((step) => step.name === name) as unknown as RequestHandler[];

  app.use(access(ctx));
  app.use(oddities);
  app.use('/docs', pageAssets);
  app.use(named('pathParamsMiddleware'), named('metadataMiddleware'));
  app.use(named('securityMiddleware'));
  app.use(readBody);
  app.use(named('requestMiddleware').map((step) => checkRequest(step, ours, rules)));
  if (!ctx.config.production) app.use(named('responseMiddleware'));
  app.use(dispatch(ours, handlers));
  app.use(failure(ctx));
  return app;
}

/** What HTTP allows and those behind do not: HEAD where there is GET, percent signs that encode nothing, or NUL. */
const oddities: RequestHandler = (req, _res, next) => {
  const { expect, host } = req.headers;
  if (host === undefined && req.httpVersion === '1.1')
    throw new Problem('malformed-request', { message: 'HTTP/1.1 requires a Host header.' });
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') throw new Problem('expectation-failed');
  // Node knows by the original method that the answer has no body.
  if (req.method === 'HEAD') req.method = 'GET';
  const [path = '', ...query] = req.url.split('?');
  const literal = decodable(path) ? path.replaceAll('%00', '%2500') : path.replaceAll('%', '%25');
  if (literal !== path) {
    req.url = [literal, ...query].join('?');
    req.originalUrl = req.url;
  }
  next();
};

function decodable(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

/** The validator has found the operation already; its id names the handler. */
function dispatch(document: OpenApiDocument, handlers: Handlers): RequestHandler {
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
