import { Client } from 'pg';
import { createTestDatabase, NO_LIMITS, startHarness } from './harness';
import { startProxy } from './tcp-proxy';

export type BehindProxy = Awaited<ReturnType<typeof startBehindProxy>>;

/** A service that reaches its database through a proxy that can do what networks do; `direct` does not. */
export async function startBehindProxy(env: Record<string, string> = NO_LIMITS) {
  const database = await createTestDatabase();
  const proxy = await startProxy(database.url);
  const service = await startHarness(env, { databaseUrl: proxy.url });
  const direct = new Client(database.url);
  // A test may have every connection ended.
  direct.on('error', () => undefined);
  await direct.connect();
  return {
    database,
    proxy,
    service,
    direct,
    async stop() {
      await proxy.up();
      await service.stop();
      await proxy.stop();
      await direct.end();
      await database.drop();
    },
  };
}
