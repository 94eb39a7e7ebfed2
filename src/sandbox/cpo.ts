import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import express, { type ErrorRequestHandler, type Request, type RequestHandler, type Response } from 'express';
import { middleware as validator } from 'express-openapi-validator';
import { operationsOf, readContract, servedBy, toValidatorDocument } from '../contract/document';
import { formats } from '../contract/formats';
import type { Log } from '../log';
import { type Behaviour, correct, type Received } from './behaviour';
import { type MutantName, mutants } from './mutants';
import { carryOut, json, type Outcome } from './reply';
import { createStations } from './stations';

/** A request that the sandbox CPO received, and the status of its response. */
export type Call = { at: string; operation: string; uid?: string; status: number };

export type SandboxCpo = { readonly url: string; readonly calls: readonly Call[]; stop(): Promise<void> };

/**
 * `mutant`: the one rule to break, so that a check of the conformance kit fails. `tls`: a PEM key and certificate, to serve https.
 */
export type SandboxCpoOptions = {
  readonly mutant?: MutantName;
  readonly tls?: { readonly key: string; readonly cert: string };
};

const KEPT_CALLS = 100;
const INCORRECT = 404;

/**
 * Starts a CPO backend that implements the CPO's half of openapi.yaml, with a scenario for each code. It depends on the service
 * over HTTP only. `GET /calls` lists the requests that it received, the newest first.
 * @param token the bearer token to accept
 */
export async function startSandboxCpo(
  port: number,
  token: string,
  log: Log,
  { mutant, tls }: SandboxCpoOptions = {},
): Promise<SandboxCpo> {
  const contract = servedBy(readContract().document, 'cpo');
  const behaviour: Behaviour = { ...correct, ...(mutant !== undefined && mutants[mutant]) };
  const stations = createStations(behaviour);
  const calls: Call[] = [];
  const counts = { pair: 0, unpair: 0, rejected: 0 };
  let incorrectInARow = 0;

  const respond = (req: Request, res: Response, kind: Received['kind'], outcome: Outcome): void => {
    counts[kind] += 1;
    incorrectInARow = kind === 'pair' && outcome.reply?.status === INCORRECT ? incorrectInARow + 1 : 0;
    const { method, path, headers, body } = req;
    const received = { kind, method, path, headers, body, token, nth: counts[kind], incorrectInARow };
    carryOut(res, behaviour.answer(outcome, received));
  };

  const record: RequestHandler = (req, res, next) => {
    res.on('close', () => {
      const operation = req.openapi?.schema.operationId ?? `${req.method} ${req.path}`;
      const { uid } = req.openapi?.pathParams ?? {};
      calls.unshift({
        at: new Date().toISOString(),
        operation,
        ...(uid !== undefined && { uid }),
        status: res.statusCode,
      });
      calls.length = Math.min(calls.length, KEPT_CALLS);
      log.info('sandbox CPO called', { operation, status: res.statusCode });
    });
    next();
  };

  const authorize: RequestHandler = (req, res, next) => {
    const { searchParams } = new URL(req.originalUrl, 'http://cpo');
    if (behaviour.isAuthorized(req.headers.authorization, searchParams, token)) return next();
    respond(req, res, 'rejected', json(401, { message: 'Unauthorized.' }, { 'www-authenticate': 'Bearer' }));
  };

  const failure: ErrorRequestHandler = (error, req, res, _next) => {
    const status = typeof error?.status === 'number' ? error.status : 500;
    const headers = status === 405 ? { allow: String(error.headers?.Allow) } : undefined;
    // The message of a parser quotes the body, which contains a code.
    const message =
      error?.type === 'entity.parse.failed' ? 'The body is not valid JSON.' : `Rejected: ${error?.message}`;
    respond(req, res, 'rejected', json(status, { message }, headers));
  };

  const app = express();
  app.disable('x-powered-by');
  app.get('/calls', (_req, res) => void res.json(calls));
  app.use(record);
  app.use(authorize);
  app.use(express.json());
  const checks = validator({
    apiSpec: toValidatorDocument(contract) as never,
    formats,
    // Checked before the body is read.
    validateSecurity: false,
    fileUploader: false,
  });
  // The types of the validator are not compatible with those of Express.
  app.use(checks as unknown as RequestHandler[]);
  app.use(async (req, res, next) => {
    const operation = operationsOf(contract).find(({ id }) => id === req.openapi?.schema.operationId);
    if (operation === undefined) return next();
    if (operation.path.endsWith('/unpair'))
      return respond(req, res, 'unpair', stations.unpair(req.openapi?.pathParams.uid ?? ''));
    const member = operation.path.includes('ocpi') ? 'evse' : 'charging_station';
    respond(req, res, 'pair', await stations.pair(req.body.code, member));
  });
  app.use(failure);

  const server = (tls === undefined ? createHttpServer(app) : createHttpsServer(tls, app)).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `${tls === undefined ? 'http' : 'https'}://localhost:${(server.address() as AddressInfo).port}`,
    calls,
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
