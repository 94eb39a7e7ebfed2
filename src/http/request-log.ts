import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import { namesCode } from '../codes/code';
import type { Context } from '../context';
import { newSpan, type Origin, readTraceparent, traceFields } from '../contract/trace-context';
import type { Problem } from '../problems';
import type { Caller } from '../tokens/caller';

const VALID_ID = /^[\w.~+/=:-]{1,128}$/;
/** Operations that machines call every few seconds: logged at level debug only, and served whatever the load is. */
export const PROBES: ReadonlySet<string> = new Set(['live', 'ready']);

/** Returns the ids of a request: its own if valid, otherwise a new one; a correlation id if valid; a span in the caller's trace. */
function idsOf({ random }: Context, headers: IncomingHttpHeaders) {
  const valid = (given: unknown) => (typeof given === 'string' && VALID_ID.test(given) ? given : undefined);
  return {
    requestId: valid(headers['x-request-id']) ?? random.requestId(),
    correlationId: valid(headers['x-correlation-id']),
    trace: newSpan(random, readTraceparent(headers.traceparent)),
  };
}

/** Gives each request its id and, once it has ended, its log line and metrics. */
export function requestLog(ctx: Context): RequestHandler {
  return (req, res, next) => {
    const began = performance.now();
    const { requestId, correlationId, trace } = idsOf(ctx, req.headers);
    const origin: Origin = { requestId, trace };
    res.locals.requestId = requestId;
    res.locals.origin = origin;
    res.locals.correlationId = correlationId;
    res.set('X-Request-ID', requestId);
    if (correlationId !== undefined) res.set('X-Correlation-ID', correlationId);
    res.set('Cache-Control', 'no-store');
    res.set('X-Content-Type-Options', 'nosniff');

    const method = req.method;
    res.on('close', () => {
      const operation: string = req.openapi?.schema.operationId ?? 'none';
      const seconds = (performance.now() - began) / 1000;
      const caller = res.locals.caller as Caller | undefined;
      ctx.metrics.requestAnswered(seconds, PROBES.has(operation) ? 'debug' : undefined, {
        request_id: res.locals.requestId,
        correlation_id: res.locals.correlationId,
        ...traceFields(trace),
        method,
        operation,
        // 499: the client disconnected before the response was sent.
        status: res.writableFinished ? res.statusCode : 499,
        problem: (res.locals.problem as Problem | undefined)?.type,
        role: caller?.role,
        ...res.locals.subject,
        ...(caller?.cpo && { cpo_id: caller.cpo.id }),
        token_id: caller?.tokenId,
      });
    });
    next();
  };
}

/** Replaces ids that name the code in the body, before anything is logged or stored under them. Must run after the body was read. */
export function keepCodeOutOfIds({ random }: Context): RequestHandler {
  return (req, res, next) => {
    const { code }: { code?: unknown } = Object(req.body);
    const { requestId, correlationId, origin } = res.locals;
    if (typeof code === 'string' && namesCode(requestId, code)) {
      res.locals.requestId = random.requestId();
      res.locals.origin = { ...origin, requestId: res.locals.requestId };
      res.set('X-Request-ID', res.locals.requestId);
    }
    if (typeof code === 'string' && correlationId !== undefined && namesCode(correlationId, code)) {
      delete res.locals.correlationId;
      res.removeHeader('X-Correlation-ID');
    }
    next();
  };
}
