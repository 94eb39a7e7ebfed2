import { Client, type ClientConfig } from 'pg';

const READ_ONLY_SQL_TRANSACTION = '25006';
/** The function of PostgreSQL that warns; the text of the warning is in the server's language. */
const SYNC_REP_WAIT = 'SyncRepWaitForLSN';

/**
 * A connection of the pool.
 *
 * It is closed when a statement got no answer in time, or when it leads to a server that only reads. The pool would hand
 * the first out again with the old statement still under way, and all later statements would wait behind it; the second is
 * the former primary after a fail-over.
 *
 * A statement fails if its commit did not wait until the standby had it. Cancelling such a wait (`pg_cancel_backend`) lets
 * the commit succeed with a warning, and the next fail-over loses it.
 */
export class ServiceClient extends Client {
  #notReplicated = false;

  constructor(config?: string | ClientConfig) {
    super(config);
    this.on('notice', ({ routine }) => {
      this.#notReplicated ||= routine === SYNC_REP_WAIT;
    });
  }

  /** All overloads of `Client.query`: `never` is what each of them may return. */
  override query(...args: unknown[]): never {
    this.#notReplicated = false;
    const callback = args.at(-1);
    // `Pool.query` passes a callback, and destroys the connection itself when there is an error.
    if (typeof callback === 'function')
      args[args.length - 1] = (error: unknown, result: unknown) => callback(error ?? this.#refusal(), result);
    const answer: unknown = Reflect.apply(super.query, this, args);
    return (answer instanceof Promise ? this.#checked(answer) : answer) as never;
  }

  async #checked(answer: Promise<unknown>): Promise<unknown> {
    const result = await answer.catch((error: unknown) => {
      const { code, message } = Object(error) as { code?: unknown; message?: unknown };
      if (code === READ_ONLY_SQL_TRANSACTION || message === 'Query read timeout')
        void this.end().catch(() => undefined);
      throw error;
    });
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    return result;
  }

  #refusal(): Error | undefined {
    return this.#notReplicated ? new Error('committed, but not known to be on the standby') : undefined;
  }
}
