import { createServer } from 'node:http';
import { RefusedAttempts } from './attempts/refused-attempts';
import { CODES_CHANNEL } from './codes/codes';
import { type ExpiryTimes, startExpiry } from './codes/expire';
import { type Config, settingOf } from './config';
import type { Context } from './context';
import { readContract } from './contract/document';
import { CpoClient } from './cpos/client';
import { notifiableCpo } from './cpos/cpos';
import { undecryptable } from './cpos/re-encrypt';
import { deriveKeys, secretKey } from './crypto/keys';
import { type Random, random as systemRandom } from './crypto/random';
import { throwUnreachable } from './db/connection-errors';
import { Listener } from './db/listener';
import { migrate, requireMigrated } from './db/migrate';
import { type Database, openDatabase } from './db/pool';
import { requireNotifications, requireSession, requireTimeouts, throwIfPooler } from './db/pooler';
import { requireServer } from './db/require-server';
import { schema } from './db/schema';
import { startEmbedded } from './embedded-postgres/launcher';
import { EVENTS_CHANNEL } from './events/events';
import { startPublisher } from './events/publish';
import { createApp } from './http/app';
import { LOAD_LIMITS, type LoadLimits } from './http/load-shedding';
import { operationHandlers } from './http/operations';
import { close, createHttpServer, HTTP_LIMITS, listen, requireReady } from './http/server';
import { createLog, type Log } from './log';
import { createMetrics } from './metrics';
import { startDelivery } from './outbox/deliver';
import { OUTBOX_CHANNEL } from './outbox/outbox';
import { type RetentionTimes, startRetention } from './retention/retention';
import { type OpenSandbox, openSandbox } from './sandbox/start';
import { TokenRegistry } from './tokens/registry';
import { TOKENS_CHANNEL } from './tokens/tokens';
import { ERASURES_CHANNEL, startErasureJob } from './users/pending-erasures';
import { WEBHOOKS_CHANNEL } from './webhooks/channel';
import { WebhookClient } from './webhooks/client';
import { startWebhookDelivery } from './webhooks/deliver';
import { startEndpointChecks } from './webhooks/disable';
import { undecryptableEndpoints } from './webhooks/re-encrypt';
import { startRedeliveries } from './webhooks/redeliver';

/** Of the database, for requests; what needs a session of its own has a few more. */
export const CONNECTIONS = 10;

const CHANNELS = [CODES_CHANNEL, TOKENS_CHANNEL, OUTBOX_CHANNEL, ERASURES_CHANNEL, EVENTS_CHANNEL, WEBHOOKS_CHANNEL];

/** What tests replace. */
export type Overrides = {
  readonly log?: Log;
  readonly random?: Random;
  readonly http?: Partial<typeof HTTP_LIMITS>;
  readonly load?: Partial<LoadLimits>;
  readonly retention?: Partial<RetentionTimes>;
  readonly expiry?: Partial<ExpiryTimes>;
};

/** A running service. */
export type Service = {
  readonly url: string;
  readonly metricsUrl: string | undefined;
  /** Undefined outside the sandbox, and when the database is not the embedded one. */
  readonly sandbox: OpenSandbox | undefined;
  /** Stops the notification of CPOs and webhook endpoints in this process; other replicas continue. */
  stopDelivery(): Promise<void>;
  /** Stops publishing events in this process; other replicas go on. */
  stopPublishing(): Promise<void>;
  /** Stops everything that `startService` has started, in the reverse order. */
  stop(): Promise<void>;
};

/**
 * Builds and starts the service; it accepts requests when the promise resolves.
 * @throws OperatorError if the configuration, the database or the port keeps it from starting
 */
export async function startService(config: Config, overrides: Overrides = {}): Promise<Service> {
  const log = overrides.log ?? createLog(config.logLevel);
  const stopping = new AbortController();
  /** How to stop what has been started, in the order of the starts. */
  const stops: Stops = [];
  let closeServer = async () => {};
  const stop = async () => {
    stopping.abort();
    // First, and in the same turn: a client whose long poll ends because of the stop must not reconnect here.
    await closeServer();
    for (const stopOne of stops.splice(0).reverse()) await stopOne();
  };
  try {
    const { db, listener } = await connect(config, log, stops);

    const contract = readContract();
    const metrics = createMetrics(log);
    const random = overrides.random ?? systemRandom;
    const client = new CpoClient(config.callsLoopback, contract.document, metrics, random);
    stops.push(() => client.close());
    const webhookClient = new WebhookClient(config.callsLoopback, contract.document);
    stops.push(() => webhookClient.close());
    const ctx: Context = {
      config,
      db,
      listener,
      log,
      metrics,
      random,
      keys: deriveKeys(secretKey(config), config.previousSecretKey),
      stopping: stopping.signal,
    };
    const locked = await undecryptable(ctx);
    if (locked.length > 0)
      log.error('tokens of CPOs are encrypted with another SECRET_KEY, which must be set as SECRET_KEY_PREVIOUS', {
        count: locked.length,
      });
    const unsigned = await undecryptableEndpoints(ctx);
    if (unsigned.length > 0)
      log.error('webhook secrets are encrypted with another SECRET_KEY, which must be set as SECRET_KEY_PREVIOUS', {
        count: unsigned.length,
      });
    const registry = new TokenRegistry(ctx);
    await registry.start();
    stops.push(() => registry.stop());
    const refused = new RefusedAttempts(ctx);
    stops.push(() => refused.stop());

    const load = { ...LOAD_LIMITS, requestsPerCaller: config.limitInFlight, ...overrides.load };
    const handlers = operationHandlers(ctx, contract, client, webhookClient);
    const app = createApp(ctx, contract.document, registry, refused, handlers, load);
    const server = createHttpServer(ctx, app, { ...HTTP_LIMITS, ...overrides.http });
    const port = await listen(server, config.port, config.host, 'PORT');
    closeServer = () => close(server);
    await requireReady(server);

    const delivery = startDelivery(
      ctx,
      async ({ cpoId, payloadProtocol, uid, origin, user }, signal) =>
        client.notifyUnpaired(await notifiableCpo(ctx, cpoId), payloadProtocol, uid, { origin, user, signal }),
      () => client.openCircuits(),
    );
    stops.push(() => delivery.stop());
    const publisher = startPublisher(ctx, [CODES_CHANNEL]);
    stops.push(() => publisher.stop());
    const webhooks = startWebhookDelivery(ctx, webhookClient);
    stops.push(() => webhooks.stop());
    const redeliveries = startRedeliveries(ctx);
    stops.push(() => redeliveries.stop());
    const endpointChecks = startEndpointChecks(ctx);
    stops.push(() => endpointChecks.stop());
    const erasing = startErasureJob(ctx);
    stops.push(() => erasing.stop());
    const retention = startRetention(ctx, overrides.retention);
    stops.push(() => retention.stop());
    const expiry = startExpiry(ctx, overrides.expiry);
    stops.push(() => expiry.stop());

    const metricsPort =
      config.metricsPort === undefined ? undefined : await serveMetrics(ctx, config.metricsPort, stops);
    const url = config.publicUrl ?? `http://localhost:${port}`;
    const sandbox = config.sandbox && config.databaseUrl === undefined ? await openSandbox(ctx, url) : undefined;
    if (sandbox) stops.push(() => sandbox.cpo.stop());
    log.info('listening', { url, port });
    return {
      url,
      metricsUrl: metricsPort === undefined ? undefined : `http://localhost:${metricsPort}`,
      sandbox,
      stopDelivery: async () => {
        await Promise.all([delivery.stop(), webhooks.stop()]);
      },
      stopPublishing: publisher.stop,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Stops = (() => Promise<unknown>)[];

/** Opens the pool and the listener, checks the database, and migrates it if this role may. */
async function connect(config: Config, log: Log, stops: Stops): Promise<{ db: Database; listener: Listener }> {
  const databaseUrl = config.databaseUrl ?? (await embedded(config, log, stops));
  const directUrl = config.directDatabaseUrl ?? databaseUrl;
  const pooled = databaseUrl !== directUrl;
  const opening = openDatabase(databaseUrl, schema, CONNECTIONS, pooled);
  const db = await (pooled ? opening : opening.catch(throwIfPooler)).catch(
    throwUnreachable(settingOf(config, databaseUrl), databaseUrl),
  );
  stops.push(() => db.destroy());
  await requireServer(db);
  await requireSession(db);
  const listener = new Listener(directUrl, CHANNELS, log);
  await listener.start().catch(throwUnreachable(settingOf(config, directUrl), directUrl));
  stops.push(() => listener.stop());
  await requireTimeouts(db);
  await requireNotifications(db, listener, TOKENS_CHANNEL);
  await bringUpToDate(config, directUrl, log);
  return { db, listener };
}

async function embedded(config: Config, log: Log, stops: Stops): Promise<string> {
  const postgres = await startEmbedded({
    dir: config.dataDir,
    onExit: (reason) => log.error('embedded database ended', { reason }),
  });
  stops.push(() => postgres.stop());
  return postgres.url;
}

/** Runs pending migrations. If they are another role's to run, only checks that there are none. */
async function bringUpToDate(config: Config, directUrl: string, log: Log): Promise<void> {
  if (config.databaseUrl !== undefined && config.migrationDatabaseUrl !== undefined)
    return requireMigrated(directUrl, schema, config.sandbox);
  const migrated = await migrate(directUrl, schema, { sandbox: config.sandbox });
  if (migrated > 0) log.info('migrated', { count: migrated });
}

async function serveMetrics(ctx: Context, port: number, stops: Stops): Promise<number> {
  ctx.metrics.collectDefaults();
  const server = createServer(async (req, res) => {
    if (req.url !== '/metrics') return res.writeHead(404).end();
    res.setHeader('Content-Type', ctx.metrics.registry.contentType);
    return res.end(await ctx.metrics.registry.metrics());
  });
  stops.push(() => close(server));
  const bound = await listen(server, port, ctx.config.host, 'METRICS_PORT');
  ctx.log.info('metrics', { url: `http://localhost:${bound}/metrics`, port: bound });
  return bound;
}
