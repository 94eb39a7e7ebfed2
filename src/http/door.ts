import type { IncomingMessage, RequestListener } from 'node:http';
import type { Context } from '../context';
import type { TokenRegistry } from '../tokens/registry';
import { idsOf } from './access';
import { unauthorized } from './auth';
import { bodyOf } from './failure';
import { timesSent } from './messages';

/**
 * Turns a flood of bad tokens away before anything costly: what is under `/v1/` takes a live token, whatever follows.
 * It answers as `http/failure` does; whoever is not surely bad goes on to the app, which decides.
 */
export function door(ctx: Context, registry: TokenRegistry, app: RequestListener): RequestListener {
  return (req, res) => {
    const token = doubtfulToken(req);
    if (token === undefined || !registry.refuses(token)) return app(req, res);

    const began = performance.now();
    const { requestId, correlationId } = idsOf(ctx, req.headers);
    const problem = unauthorized(req.headers.authorization);
    const body = JSON.stringify(bodyOf(problem, requestId));
    res.writeHead(problem.status, {
      'X-Request-ID': requestId,
      ...(correlationId !== undefined && { 'X-Correlation-ID': correlationId }),
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      ...problem.headers,
      ...(ctx.stopping.aborted && { Connection: 'close' }),
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
    });
    res.end(body);
    ctx.events.requestAnswered((performance.now() - began) / 1000, undefined, {
      request_id: requestId,
      correlation_id: correlationId,
      method: req.method,
      operation: 'none',
      status: problem.status,
      problem: problem.type,
    });
  };
}

/** The token of a plain request; undefined for whatever is unusual enough to be left to the app. */
function doubtfulToken(req: IncomingMessage): string | undefined {
  const { url = '', headers, method } = req;
  if (!url.startsWith('/v1/') || method === 'HEAD' || headers.expect !== undefined || headers.host === undefined)
    return undefined;
  if (headers.accept?.includes('problem+json') || timesSent(req, 'authorization') !== 1) return undefined;
  return /^bearer (\S+)$/i.exec(headers.authorization ?? '')?.[1];
}
