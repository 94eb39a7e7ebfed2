import type { Server } from 'node:http';
import { RefusedAttempts } from './attempts/refused-attempts';
import { RecordCalls } from './calls/record-calls';
import { CODES_CHANNEL } from './codes/codes';
import { type ExpiryTimes, startExpiry } from './codes/expire';
import type { Config } from './config';
import { CERTIFICATION_CHANNEL } from './conformance/channel';
import type { Context } from './context';
import { readContract } from './contract/document';
import { withoutSandbox } from './contract/without-sandbox';
import { CpoClient } from './cpos/client';
import { notifiableCpo } from './cpos/cpos';
import { undecryptable } from './cpos/re-encrypt';
import { deriveKeys, secretKey } from './crypto/keys';
import { type Random, random as systemRandom } from './crypto/random';
import { settingOf, throwUnreachable } from './db/connection-errors';
import { Listener } from './db/listener';
import { migrate, requireMigrated } from './db/migrate';
import { type Database, openDatabase, poolConnections } from './db/pool';
import { requireNotifications, requireSession, requireTimeouts, throwIfPooler } from './db/pooler';
import { onFailure } from './db/query';
import { requireServer } from './db/require-server';
import { schema } from './db/schema';
import { startEmbedded } from './embedded-postgres/launcher';
import { EVENTS_CHANNEL } from './events/events';
import { startPublisher } from './events/publish';
import { createApp } from './http/app';
import { LOAD_LIMITS, type LoadLimits } from './http/load-shedding';
import { serveMetrics } from './http/metrics-server';
import { operationHandlers } from './http/operations';
import { close, createHttpServer, HTTP_LIMITS, listen, readArrivedRequests, requireReady } from './http/server';
import { createLog, type Log } from './log';
import { createMetrics } from './metrics/metrics';
import { startDelivery } from './outbox/deliver';
import { OUTBOX_CHANNEL } from './outbox/outbox';
import { type RetentionTimes, startRetention } from './retention/retention';
import type { SandboxOverrides } from './sandbox/deployment';
import type { OpenSandbox } from './sandbox/start';
import { type StatusTimes, startStatus } from './status/start';
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

const CHANNELS = [
  CODES_CHANNEL,
  TOKENS_CHANNEL,
  OUTBOX_CHANNEL,
  ERASURES_CHANNEL,
  EVENTS_CHANNEL,
  WEBHOOKS_CHANNEL,
  CERTIFICATION_CHANNEL,
];

/** What tests replace. */
export type Overrides = SandboxOverrides & {
  readonly log?: Log;
  readonly random?: Random;
  readonly http?: Partial<typeof HTTP_LIMITS>;
  readonly load?: Partial<LoadLimits>;
  readonly retention?: Partial<RetentionTimes>;
  readonly expiry?: Partial<ExpiryTimes>;
  readonly status?: StatusTimes;
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
  let listening: Server | undefined;
  const stop = async () => {
    if (listening) await readArrivedRequests(listening);
    stopping.abort();
    // First, and in the same turn: a client whose long poll ends because of the stop must not reconnect here.
    if (listening) await close(listening);
    for (const stopOne of stops.splice(0).reverse()) await stopOne();
  };
  try {
    const { db, listener } = await connect(config, log, stops);
    const contract = config.sandbox ? readContract() : withoutSandbox(readContract());
    const metrics = createMetrics(log);
    metrics.readFrom({ listener, pool: () => poolConnections(db) });
    onFailure(db, metrics.databaseFailed);
    const random = overrides.random ?? systemRandom;
    const calls = new RecordCalls({ db, log, metrics });
    stops.push(() => calls.stop());
    const client = new CpoClient(config.callsLoopback, contract.document, metrics, random, calls);
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
    // Outside sandbox deployments nothing of it is loaded.
    const deployment = config.sandbox
      ? (await import('./sandbox/deployment.js')).createSandbox(ctx, client, { contract, registry, overrides })
      : undefined;
    if (deployment) stops.push(() => deployment.stop());
    const handlers = operationHandlers(ctx, contract, client, webhookClient, deployment);
    const app = createApp(ctx, contract.document, registry, refused, handlers, load, deployment);
    const server = createHttpServer(ctx, app, { ...HTTP_LIMITS, ...overrides.http });
    const port = await listen(server, config.port, config.host, 'PORT');
    listening = server;
    await requireReady(server);

    const delivery = startDelivery(
      ctx,
      async ({ cpoId, payloadProtocol, uid, ...caller }, signal) =>
        client.notifyUnpaired(await notifiableCpo(ctx, cpoId), payloadProtocol, uid, { ...caller, signal }),
      () => client.circuits.open(),
    );
    const publisher = startPublisher(ctx, [CODES_CHANNEL]);
    const webhooks = startWebhookDelivery(ctx, webhookClient);
    const jobs = [
      delivery,
      publisher,
      webhooks,
      startRedeliveries(ctx),
      startEndpointChecks(ctx),
      startErasureJob(ctx),
      startRetention(ctx, overrides.retention),
      startExpiry(ctx, overrides.expiry),
      startStatus(ctx, contract.document.info.version, { cpos: client.circuits, webhooks }, overrides.status),
    ];
    for (const job of jobs) stops.push(() => job.stop());
    deployment?.start();

    const metricsServer = config.metricsPort === undefined ? undefined : await serveMetrics(ctx, config.metricsPort);
    if (metricsServer) stops.push(() => metricsServer.stop());
    const url = config.publicUrl ?? `http://localhost:${port}`;
    const sandbox =
      config.sandbox && config.databaseUrl === undefined
        ? await (await import('./sandbox/start.js')).openSandbox(ctx, url)
        : undefined;
    if (sandbox) stops.push(() => sandbox.cpo.stop());
    log.info('listening', { url, port });
    return {
      url,
      metricsUrl: metricsServer && `http://localhost:${metricsServer.port}`,
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
