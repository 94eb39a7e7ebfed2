import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { createMetrics } from '../../src/metrics/metrics';
import { checkEndpoints } from '../../src/webhooks/disable';
import { eventsAfter } from './feed';
import { type Harness, recordedLog, SECRET_KEY } from './harness';
import { untilSo } from './until';

/** The job that checks webhook endpoints every minute, and what it publishes. The service need not have started yet. */
export function endpointChecksOf(service: () => Harness) {
  /** A context with a log and metrics of its own. */
  function ownContext(stopping = new AbortController().signal) {
    const { log, lines } = recordedLog();
    const metrics = createMetrics(log);
    const { config, db } = service();
    const keys = deriveKeys(SECRET_KEY);
    return { lines, metrics, ctx: { config, db, listener: undefined as never, log, metrics, random, keys, stopping } };
  }
  const eventsOf = async (app: { token: string }, id: string) => {
    const { body } = await eventsAfter(
      service(),
      'types=webhook_endpoint.failing,webhook_endpoint.disabled&limit=500',
      app.token,
    );
    return body.items.filter((event: any) => event.data.endpoint_id === id);
  };
  return {
    ownContext,

    /** Runs the job; returns its log and metrics. */
    async check(stopping?: AbortSignal) {
      const { ctx, lines, metrics } = ownContext(stopping);
      await checkEndpoints(ctx);
      return { lines, metrics };
    },

    /** The events that say that an endpoint is failing or disabled. */
    eventsOf,

    /** The same, once there are so many. */
    async theEvents(app: { token: string }, id: string, count: number) {
      await untilSo(async () => (await eventsOf(app, id)).length >= count);
      return eventsOf(app, id);
    },
  };
}
