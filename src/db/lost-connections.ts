import { Client, type ClientBase } from 'pg';

const READ_ONLY = '25006';

/**
 * For `onConnect` of a pool: closes a connection on which a statement got no answer in time, or which leads to a server
 * that only reads. The driver would give the one back with the old statement still under way, and all after it would
 * wait behind that; the other leads to what was the primary before a fail-over. Queries with a callback are left alone.
 */
export function closeWhenLost(client: ClientBase): void {
  client.query = new Proxy(client.query, {
    apply(query, self, args) {
      const answer: unknown = Reflect.apply(query, self, args);
      if (!(answer instanceof Promise)) return answer;
      return answer.catch((error: unknown) => {
        const { code, message } = Object(error) as { code?: unknown; message?: unknown };
        const lost = code === READ_ONLY || message === 'Query read timeout';
        if (lost && client instanceof Client) void client.end().catch(() => undefined);
        throw error;
      });
    },
  });
}
