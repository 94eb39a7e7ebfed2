import { createServer } from 'node:http';
import type { Context } from '../context';
import { close, listen } from './server';

/**
 * Serves the metrics at `/metrics` on a port of their own. A scrape waits for nothing but the stored state, and for that at most 1.5 s
 * (`src/status/gauges.ts`).
 * @throws OperatorError if the port is not available
 */
export async function serveMetrics(
  ctx: Pick<Context, 'config' | 'log' | 'metrics'>,
  port: number,
): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const { registry } = ctx.metrics;
  ctx.metrics.collectDefaults();
  const server = createServer(async (req, res) => {
    if (req.url !== '/metrics') return res.writeHead(404).end();
    try {
      const text = await registry.metrics();
      return res.writeHead(200, { 'Content-Type': registry.contentType }).end(text);
    } catch (error) {
      ctx.log.error('metrics could not be read', { reason: String(error) });
      return res.writeHead(500).end();
    }
  });
  const bound = await listen(server, port, ctx.config.host, 'METRICS_PORT');
  ctx.log.info('metrics', { url: `http://localhost:${bound}/metrics`, port: bound });
  return { port: bound, stop: () => close(server) };
}
