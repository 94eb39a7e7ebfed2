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
  const outcome = (error: unknown) => {
    const refusal = warned ? new Error('committed here, but not known to be on the standby') : undefined;
    warned = false;
    return error ?? refusal;
  };
  client.query = new Proxy(client.query, {
    apply(query, self, args: unknown[]) {
      const last = args.at(-1);
      if (typeof last === 'function')
        return Reflect.apply(query, self, [
          ...args.slice(0, -1),
          (error: unknown, result: unknown) => last(outcome(error), result),
        ]);
      // A promise would tell of it too late: the warning of the next statement could be there by then.
      return new Promise((resolve, reject) => {
        const done = (error: unknown, result: unknown) => {
          const failed = outcome(error);
          if (failed) reject(failed);
          else resolve(result);
        };
        Reflect.apply(query, self, [...args, done]);
      });
    },
  });
}
