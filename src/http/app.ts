import express, { type Express, type Request, type RequestHandler, type Response } from 'express';
import { middleware as validator } from 'express-openapi-validator';
import type { RefusedAttempts } from '../attempts/refused-attempts';
import type { Context } from '../context';
import {
  type Handlers,
  type OpenApiDocument,
  type OperationId,
  operationsOf,
  routable,
  servedBy,
} from '../contract/document';
import { formats } from '../contract/formats';
import { Problem } from '../problems';
import { ocpi } from '../protocols/ocpi';
import { ocpp } from '../protocols/ocpp';
import { pageAssets } from '../site/pages';
import type { TokenRegistry } from '../tokens/registry';
import { bearer } from './auth';
import { readBody, takesBody } from './body';
import { stillAllowed } from './client-disconnect';
import { failure } from './error-response';
import { createLoadShedding, type LoadLimits } from './load-shedding';
import { longPolls } from './long-polls';
import { timesSent } from './messages';
import { access, PROBES } from './request-log';
import { checkRequest, type Rules } from './validate-request';

/** The compiler reports an operation that pairs and is missing here. */
const rules: Required<Pick<Rules, Extract<OperationId, `pair${string}`>>> = {
  pairOcpp: ocpp.faults,
  pairOcpi22: ocpi.faults,
  pairOcpi221: ocpi.faults,
  pairOcpi230: ocpi.faults,
};

/** Pairing in OCPP format, and the addresses that are surely it. */
const BUSY_PATH = '/v1/scsp/{payload-protocol}/pair';
const BUSY = /^\/v1\/scsp\/ocpp[\w.]*\/pair$/;

/** The way of a request, in order; the order of its checks is part of the contract (section 3). */
export function createApp(
  ctx: Context,
  document: OpenApiDocument,
  registry: TokenRegistry,
  refused: RefusedAttempts,
  handlers: Handlers,
  limits: LoadLimits,
): Express {
  const ours = servedBy(document, 'scsp');
  const app = express();
  app.disable('x-powered-by').disable('etag');
  app.enable('case sensitive routing');
  const stepsOf = (part: OpenApiDocument) => {
    const contract = validator({
      apiSpec: routable(part) as never,
      validateApiSpec: true,
      validateRequests: { allErrors: true, allowUnknownQueryParameters: true },
      validateResponses: !ctx.config.production,
      validateSecurity: { handlers: { bearer: bearer(registry) } },
      formats,
      fileUploader: false,
    });
    // Its types know only its own view of a request.
    return new Map(contract.map((step) => [step.name, step as unknown as RequestHandler]));
  };
  // A validator compiles its paths, one after the other, anew for each request: the one that carries the load has its own.
  const busy = stepsOf({ ...ours, paths: { [BUSY_PATH]: ours.paths[BUSY_PATH] ?? {} } });
  const all = stepsOf(ours);
  const step =
    (name: string): RequestHandler =>
    (req, res, next) =>
      (BUSY.test(req.originalUrl) ? busy : all).get(name)?.(req, res, next);

  const load = createLoadShedding(limits);
  app.use(inTurn(access(ctx), oddities));
  app.use('/docs', inTurn(load.pages, pageAssets));
  app.use(
    inTurn(
      step('metadataMiddleware'),
      step('securityMiddleware'),
      refused.watch,
      when(takesBody, load.bodies),
      readBody,
      // The body may have taken its time.
      when(takesBody, (_req, res, next) => stillAllowed(res).then(() => next())),
      when(isAuthenticated, load.requests),
      when(isPage, load.pages),
      checkRequest(step('requestMiddleware'), ours, rules),
      longPolls(registry, ctx.stopping, load.longPolls),
      ...(ctx.config.production ? [] : [step('responseMiddleware')]),
      dispatch(ours, handlers),
    ),
  );
  app.use(failure(ctx));
  return app;
}

/** Steps as one: a layer of Express's router costs as much as many a step. */
function inTurn(...steps: RequestHandler[]): RequestHandler {
  return (req, res, next) => {
    const from = (at: number): void => {
      const step = steps[at];
      if (step === undefined) return next();
      try {
        const done = step(req, res, (error?: unknown) => (error === undefined ? from(at + 1) : next(error)));
        if (done instanceof Promise) done.catch(next);
      } catch (error) {
        next(error);
      }
    };
    from(0);
  };
}

/** A step for some requests; the others pass it by. */
function when(applies: (req: Request, res: Response) => boolean, step: RequestHandler): RequestHandler {
  return (req, res, next) => (applies(req, res) ? step(req, res, next) : next());
}

const isAuthenticated = (_req: Request, res: Response) => res.locals.caller !== undefined;

/** Probes must be answered whatever the load is. */
const isPage = (req: Request, res: Response) =>
  !isAuthenticated(req, res) && !PROBES.has(req.openapi?.schema.operationId ?? '');

/** Targets in which there is nothing odd. */
const PLAIN = /^\/[^%]*$/;
/** Headers of which two would let this service and a proxy before it understand different things. */
const ONCE = ['host', 'authorization', 'content-type'];

/**
 * What HTTP allows and those behind do not: HEAD where there is GET, targets in absolute form, percent signs that encode
 * nothing, or NUL.
 */
const oddities: RequestHandler = (req, _res, next) => {
  const { expect, host } = req.headers;
  if (host === undefined && req.httpVersion === '1.1')
    throw new Problem('malformed-request', { message: 'HTTP/1.1 requires a Host header.' });
  const repeated = ONCE.find((name) => timesSent(req, name) > 1);
  if (repeated !== undefined)
    throw new Problem('malformed-request', { message: `The header ${repeated} may be sent once only.` });
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') throw new Problem('expectation-failed');
  // Node knows by the original method that the answer has no body.
  if (req.method === 'HEAD') req.method = 'GET';
  if (!PLAIN.test(req.url)) {
    const [path = '', ...query] = originForm(req.url, host).split('?');
    const literal = decodable(path) ? path.replaceAll('%00', '%2500') : path.replaceAll('%', '%25');
    req.url = [literal, ...query].join('?');
    req.originalUrl = req.url;
  }
  next();
};

/** A request target in absolute form, as proxies send it (RFC 9112, 3.2.2), without its host where that is the Host. */
function originForm(target: string, host = ''): string {
  const [, authority = '', rest = ''] = /^https?:\/\/([^/?]*)(.*)$/i.exec(target) ?? [];
  if (authority === '' || authority.toLowerCase() !== host.toLowerCase()) return target;
  return rest.startsWith('/') ? rest : `/${rest}`;
}

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
