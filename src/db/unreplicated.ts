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
  client.query = new Proxy(client.query, {
    apply(query, self, args) {
      warned = false;
      const answer: unknown = Reflect.apply(query, self, args);
      if (!(answer instanceof Promise)) return answer;
      return answer.then((result) => {
        if (warned) throw new Error('committed here, but not known to be on the standby');
        return result;
      });
    },
  });
}
