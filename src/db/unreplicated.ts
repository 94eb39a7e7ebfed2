import type { ClientBase } from 'pg';

/** The function of PostgreSQL that warns; what it says is in the server's language. */
const WAITING = 'SyncRepWaitForLSN';

/**
 * For `onConnect` of a pool: fails a statement whose commit was not waited for until the standby had it. Whoever cancels
 * a commit that waits for a standby (`pg_cancel_backend`) lets it succeed with a warning; the next fail-over loses it.
 */
export function refuseUnreplicated(client: ClientBase): void {
  let warned = false;
  client.on('notice', ({ routine }) => {
    warned ||= routine === WAITING;
  });
  const refusal = () => (warned ? new Error('committed here, but not known to be on the standby') : undefined);
  client.query = new Proxy(client.query, {
    apply(query, self, args: unknown[]) {
      warned = false;
      const callback = args.at(-1);
      // A pool's own `query` asks with one.
      if (typeof callback === 'function')
        args[args.length - 1] = (error: unknown, result: unknown) => callback(error ?? refusal(), result);
      const answer: unknown = Reflect.apply(query, self, args);
      if (!(answer instanceof Promise)) return answer;
      return answer.then((result) => {
        const refused = refusal();
        if (refused) throw refused;
        return result;
      });
    },
  });
}
