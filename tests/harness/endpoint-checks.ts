import { checkEndpoints } from '../../src/webhooks/disable';
import { eventsAfter } from './feed';
import type { Harness } from './harness';
import { ownContext } from './own-context';
import { untilSo } from './until';

/** The job that checks webhook endpoints every minute, and what it publishes. The service need not have started yet. */
export function endpointChecksOf(service: () => Harness) {
  const eventsOf = async (app: { token: string }, id: string) => {
    const { body } = await eventsAfter(
      service(),
      'types=webhook_endpoint.failing,webhook_endpoint.disabled&limit=500',
      app.token,
    );
    return body.items.filter((event: any) => event.data.endpoint_id === id);
  };
  return {
    /** Runs the job; returns its log and metrics. */
    async check(stopping?: AbortSignal) {
      const { ctx, lines, metrics } = ownContext(service(), stopping);
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
