import { setTimeout as sleep } from 'node:timers/promises';
import { Pool, type PoolClient } from 'pg';
import { isAway } from '../db/database';
import { closeWhenLost, onQueryError } from '../db/lost-connections';

const TIMEOUTS = { connectionTimeoutMillis: 2_000, query_timeout: 5_000 };
const RETRY_MS = 250;
export const STOP_MS = 5_000;
type Listen = (error: Error | undefined, client: PoolClient | undefined, release?: () => void) => void;
/** The SQLSTATE for which graphile-worker soon tries again. */
const TRY_AGAIN = '40001';

/**
 * Connections for graphile-worker. It writes the end of a job in a promise that nobody holds, so that an error there
 * would end the process; set to write them in batches, it stops for good at the first. So it sees no error: a connection
 * is waited for as long as the database is away, and a statement that is lost says that it is worth another try. Its one
 * listening connection, which it lets go of twice when that is lost during a stop, it gets with a callback.
 */
export function openJobsPool(
  connectionString: string,
  max: number,
): { pool: Pool; close(work: Promise<void>): Promise<void> } {
  let closing = false;
  const pool = new Pool({
    connectionString,
    max,
    keepAlive: true,
    ...TIMEOUTS,
    onConnect(client) {
      closeWhenLost(client);
      onQueryError(client, (error) =>
        isAway(error) ? Object.assign(new Error(String(error), { cause: error }), { code: TRY_AGAIN }) : error,
      );
    },
  });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  pool.connect = new Proxy(pool.connect, {
    apply(connect, self, [listen]: [Listen?]) {
      if (listen === undefined) return patiently(() => Reflect.apply(connect, self, []));
      const onceReleased: Listen = (error, client, release) => {
        let released = false;
        listen(error, client, () => {
          if (!released) release?.();
          released = true;
        });
      };
      return Reflect.apply(connect, self, [onceReleased]);
    },
  });
  const patiently = async (connect: () => Promise<PoolClient>): Promise<PoolClient> => {
    for (;;) {
      const client = await connect().catch(() => undefined);
      if (client !== undefined) return client;
      // Never, rather than an error: who asks in vain now is ended with the process.
      if (closing) return new Promise(() => {});
      await sleep(RETRY_MS);
    }
  };
  const drain = async () => {
    while (pool.totalCount > pool.idleCount || pool.waitingCount > 0) await sleep(20);
  };
  return {
    pool,
    /** Waits for the work and for what it still writes, but not for a database that is away. */
    async close(work) {
      closing = true;
      await Promise.race([work.then(drain), sleep(STOP_MS, undefined, { ref: false })]);
      await pool.end();
    },
  };
}
