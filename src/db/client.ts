import { Client, type ClientConfig } from 'pg';
import { NOT_REPLICATED } from './errors';

const READ_ONLY_SQL_TRANSACTION = '25006';
/** Names the PostgreSQL function that raises the warning. The warning's text is localised, so it cannot be matched. */
const SYNC_REP_WAIT = 'SyncRepWaitForLSN';

/**
 * Implements the pool's connections.
 *
 * Closes the connection after a query time-out, because the pool would reuse it while the old statement is still
 * running, and when the server is read-only, because it is then the former primary after a failover.
 *
 * Rejects a statement whose commit did not wait for the synchronous standby. Cancelling that wait (`pg_cancel_backend`)
 * lets the commit succeed with only a warning, and a failover would lose it.
 *
 * Never emits an error that nobody listens to, which would end the process: while the pool hands a connection over, neither it
 * nor its user does. The next query fails.
 */
export class ServiceClient extends Client {
  #notReplicated = false;

  constructor(config?: string | ClientConfig) {
    super(config);
    this.on('error', () => undefined);
    this.on('notice', ({ routine }) => {
      this.#notReplicated ||= routine === SYNC_REP_WAIT;
    });
  }

  /** Overrides all overloads of `Client.query`; `never` is assignable to each of their return types. */
  override query(...args: unknown[]): never {
    this.#notReplicated = false;
    const callback = args.at(-1);
    // `Pool.query` passes a callback, and destroys the connection itself on an error.
    if (typeof callback === 'function')
      args[args.length - 1] = (error: unknown, result: unknown) => callback(error ?? this.#replicationError(), result);
    const result: unknown = Reflect.apply(super.query, this, args);
    return (result instanceof Promise ? this.#checkResult(result) : result) as never;
  }

  async #checkResult(pending: Promise<unknown>): Promise<unknown> {
    const result = await pending.catch((error: unknown) => {
      const { code, message } = Object(error) as { code?: unknown; message?: unknown };
      if (code === READ_ONLY_SQL_TRANSACTION || message === 'Query read timeout')
        void this.end().catch(() => undefined);
      throw error;
    });
    const error = this.#replicationError();
    if (error !== undefined) throw error;
    return result;
  }

  #replicationError(): Error | undefined {
    return this.#notReplicated ? new Error(NOT_REPLICATED) : undefined;
  }
}
