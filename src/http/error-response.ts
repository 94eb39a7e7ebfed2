import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ErrorRequestHandler, Request, Response } from 'express';
import type { Context } from '../context';
import type { ProblemType } from '../contract/problem-types';
import { newSpan, type Origin, originFields, traceFields } from '../contract/trace-context';
import { stackOf } from '../log';
import { Problem, shownTo } from '../problems';
import { sendErrorPage } from '../site/problem-pages';
import type { Caller } from '../tokens/caller';
import { unauthorized } from './auth';

const JSON_TYPES = ['application/json', 'application/problem+json'];
const RETRY_AFTER_SECONDS = '1';

/** Writes every error response to a request: turns what was thrown into a problem (RFC 9457). */
export function errorResponse(ctx: Context): ErrorRequestHandler {
  return (error, req, res, _next) => {
    const problem = problemOf(res.locals.refusal ?? error, req);
    // Not for what a test code of a sandbox deployment asks for.
    if (problem.type === 'internal-error' && problem !== error)
      ctx.log.error('internal error', { ...logIds(res), stack: stackOf(error) });
    if (problem.status === 503 && problem.cause !== undefined)
      ctx.log.warn('database unavailable', { ...logIds(res), reason: reasonOf(problem.cause) });
    res.locals.problem = problem;
    if (res.headersSent) return void res.destroy();

    res.status(problem.status).set(problem.headers);
    if (problem.status === 503) res.set('Retry-After', problem.headers['Retry-After'] ?? RETRY_AFTER_SECONDS);
    if (!req.path.startsWith('/v1/') && req.accepts([...JSON_TYPES, 'text/html']) === 'text/html')
      return sendErrorPage(ctx.config, req, res, problem);
    const type = req.headers.accept === undefined ? undefined : req.accepts(JSON_TYPES);
    res.set('Content-Type', `${type || 'application/json'}; charset=utf-8`);
    res.json(bodyOf(problem, res.locals.requestId as string));
  };
}

function logIds({ locals }: Response) {
  const origin: Origin = locals.origin;
  const caller: Caller | undefined = locals.caller;
  return { ...originFields(origin), cpo_id: caller?.cpo?.id };
}

/** Returns the body of an error response: `message`, and the members of RFC 9457. */
export function bodyOf(problem: Problem, requestId: string) {
  return {
    message: problem.message,
    type: `/problems/${problem.type}`,
    title: problem.title,
    status: problem.status,
    request_id: problem.requestId ?? requestId,
    errors: problem.errors?.map((error) => ({ pointer: error.pointer, message: shownTo(error) })),
  };
}

function problemOf(error: unknown, req: Request): Problem {
  if (error instanceof Problem) return error;
  const { status, headers } = (error ?? {}) as { status?: unknown; headers?: Record<string, string> };
  switch (status) {
    case 400:
      return new Problem('malformed-request', { cause: error });
    case 401:
      return unauthorized(req.get('Authorization'));
    case 404:
      return new Problem('not-found', { cause: error });
    case 405:
      return new Problem('method-not-allowed', { headers: { Allow: headers?.Allow ?? '' } });
    default:
      return new Problem('internal-error', { cause: error });
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** Returns the problem for an error of Node's HTTP parser (`clientError`). */
export function parserProblem({ code = '' }: NodeJS.ErrnoException): Problem {
  const types: Record<string, ProblemType> = {
    HPE_HEADER_OVERFLOW: 'headers-too-large',
    ERR_HTTP_REQUEST_TIMEOUT: 'request-timeout',
  };
  return new Problem(types[code] ?? 'malformed-request');
}

/** Writes an error response to a connection without a request for the app, and ends it. */
export function refuseConnection(ctx: Context, problem: Problem, socket: Duplex): void {
  if (!socket.writable) return void socket.destroy();
  const requestId = ctx.random.requestId();
  const body = JSON.stringify(bodyOf(problem, requestId));
  ctx.metrics.requestAnswered(0, undefined, {
    request_id: requestId,
    ...traceFields(newSpan(ctx.random, undefined)),
    operation: 'none',
    status: problem.status,
    problem: problem.type,
  });
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
      ...Object.entries(problem.headers).map(([name, value]) => `${name}: ${value}`),
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      `X-Request-ID: ${requestId}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}
