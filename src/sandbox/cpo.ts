import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type ErrorRequestHandler, type RequestHandler } from 'express';
import { middleware as validator } from 'express-openapi-validator';
import { operationsOf, readContract, servedBy, toValidatorDocument } from '../contract/document';
import { formats } from '../contract/formats';
import type { Log } from '../log';
import { isValidCode, json, scenarios, stationOf } from './scenarios';

/** A request that the sandbox CPO received, and the status of its response. */
export type Call = { at: string; operation: string; uid?: string; status: number };

export type SandboxCpo = { readonly url: string; readonly calls: readonly Call[]; stop(): Promise<void> };

const INCORRECT = { message: 'Incorrect Code, please check the code and try again.' };
const SLOW_MS = 2_000;
const KEPT_CALLS = 100;

/**
 * Starts a CPO backend that implements the CPO's half of openapi.yaml, with a scenario for each code. It depends on the service
 * over HTTP only. `GET /calls` lists the requests that it received, the newest first.
 * @param token the bearer token to accept
 */
export async function startSandboxCpo(port: number, token: string, log: Log): Promise<SandboxCpo> {
  const contract = servedBy(readContract().document, 'cpo');
  const used = new Set<string>();
  const unpaired = new Map<string, number>();
  const calls: Call[] = [];

  const pair = (member: 'charging_station' | 'evse', code: string, res: ServerResponse): void => {
    const scenario = Object.hasOwn(scenarios, code) ? scenarios[code] : undefined;
    if (scenario !== undefined) return scenario.answer(res);
    if (!isValidCode(code) || used.has(code)) return json(res, 404, INCORRECT);
    if (code.startsWith('1')) used.add(code);
    const answer = () => json(res, 200, stationOf(code, member));
    if (code.startsWith('3')) setTimeout(answer, SLOW_MS);
    else answer();
  };

  /**
   * Unpairs a station. If its code ends in 9, the first two requests fail, like those to a backend that is restarting.
   */
  const unpair = (uid: string, res: ServerResponse): void => {
    const code = /^SANDBOX-(\d{6})$/i.exec(uid)?.[1];
    if (code === undefined)
      return json(res, 404, { message: 'The specified charging station is not valid or does not exist.' });
    const times = (unpaired.get(code) ?? 0) + 1;
    unpaired.set(code, times);
    if (code.endsWith('9') && times <= 2) return json(res, 500, { message: 'Internal server error.' });
    used.delete(code);
    return json(res, 200, { message: 'Charging station successfully unpaired.' });
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

  const failure: ErrorRequestHandler = (error, _req, res, _next) => {
    const status = typeof error?.status === 'number' ? error.status : 500;
    json(res, status, { message: status === 401 ? 'Unauthorized.' : `Rejected: ${error?.message}` });
  };

  const app = express();
  app.disable('x-powered-by');
  app.get('/calls', (_req, res) => void res.json(calls));
  app.use(record);
  app.use(express.json());
  const checks = validator({
    apiSpec: toValidatorDocument(contract) as never,
    formats,
    validateSecurity: {
      handlers: { bearerOfCpo: async (req) => req.headers.authorization === `Bearer ${token}` },
    },
    fileUploader: false,
  });
  // The types of the validator are not compatible with those of Express.
  app.use(checks as unknown as RequestHandler[]);
  app.use((req, res, next) => {
    const operation = operationsOf(contract).find(({ id }) => id === req.openapi?.schema.operationId);
    if (operation === undefined) return next();
    if (operation.path.endsWith('/unpair')) return unpair(req.openapi?.pathParams.uid ?? '', res);
    return pair(operation.path.includes('ocpi') ? 'evse' : 'charging_station', req.body.code, res);
  });
  app.use(failure);

  const server = createServer(app).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    calls,
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
