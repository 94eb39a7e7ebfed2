import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Audited, actor } from '../audit/audit';
import type { Config } from '../config';
import type { Context } from '../context';
import { deriveKeys, secretKey } from '../crypto/keys';
import { random } from '../crypto/random';
import { settingOf, throwUnreachable } from '../db/connection-errors';
import { requireDeployment } from '../db/deployment';
import { hasPendingMigrations, migrate, NotMigrated } from '../db/migrate';
import { type Database, openDatabase } from '../db/pool';
import { transaction } from '../db/query';
import { requireServer } from '../db/require-server';
import { schema } from '../db/schema';
import { attachEmbedded, hasEmbedded, startEmbedded } from '../embedded-postgres/launcher';
import { releaseLock, takeLock } from '../embedded-postgres/lock';
import { createLog } from '../log';
import { createMetrics } from '../metrics/metrics';
import { OperatorError } from '../problems';
import type { Answer, Given } from './verb';

/** What commands need from the service. */
export type CommandContext = Pick<Context, 'config' | 'db' | 'log' | 'metrics' | 'random' | 'keys'> & Audited;

const LOCK_WAIT_MS = 30_000;
const POLL_MS = 20;
const CLOSE_MS = 1_000;

/**
 * Runs `work` with the URL of the configured database. The embedded database is started if it is not running.
 * @throws OperatorError when DATABASE_URL is not set and DATA_DIR has no embedded database
 */
export async function withDatabaseUrl<T>(config: Config, work: (url: string) => Promise<T>): Promise<T> {
  const embedded = config.directDatabaseUrl === undefined;
  if (embedded && !hasEmbedded(config.dataDir))
    throw new OperatorError(
      `DATABASE_URL is not set, and DATA_DIR (${config.dataDir}) has no embedded database: set DATABASE_URL, or set DATA_DIR to the data directory of the service`,
    );
  const unlock = embedded ? await lockDataDir(config.dataDir) : () => {};
  try {
    const { url, release } = await acquireDatabase(config);
    return await work(url).finally(release);
  } finally {
    unlock();
  }
}

/**
 * Runs `work` on the configured database, migrated or not.
 * @throws Unreachable, OperatorError for a server that is not supported
 */
export function withDatabase<T>(config: Config, work: (db: Database, url: string) => Promise<T>): Promise<T> {
  return withDatabaseUrl(config, async (url) => {
    const db = await openDatabase(url, schema, 2).catch(throwUnreachable(settingOf(config, url), url));
    try {
      await requireServer(db);
      return await work(db, url);
    } finally {
      // Closing would hang on connections to a database that stopped responding.
      await Promise.race([db.destroy().catch(() => undefined), sleep(CLOSE_MS, undefined, { ref: false })]);
    }
  });
}

/**
 * Runs `work` on a database that has all migrations.
 * @throws OperatorError when the database is not available or not migrated, or when its deployment contradicts SANDBOX
 */
export function withContext<T>({ config, stderr }: Given, work: (ctx: CommandContext) => Promise<T>): Promise<T> {
  return withDatabase(config, async (db, url) => {
    if (await hasPendingMigrations(db)) {
      if (config.databaseUrl !== undefined) throw new NotMigrated();
      await migrate(url, schema, { sandbox: config.sandbox }).catch(throwUnreachable(settingOf(config, url), url));
    } else await requireDeployment(db, config.sandbox);
    return work(contextOf(config, db, stderr));
  });
}

/**
 * Commits a change after its answer has been printed, so that no secret is stored which was never shown.
 * @throws the error of printing; the change is then rolled back
 */
export async function showThenCommit(
  { print }: Given,
  { db, random, actor }: CommandContext,
  change: (tx: Audited) => Promise<Answer>,
): Promise<undefined> {
  await transaction(db, async (tx) => print(await change({ db: tx, random, actor })));
}

/**
 * Locks DATA_DIR for commands, which use the embedded database one at a time: a command that started it stops it at its end,
 * also under other commands.
 */
async function lockDataDir(dataDir: string): Promise<() => void> {
  const file = join(dataDir, 'cli.lock');
  for (const deadline = performance.now() + LOCK_WAIT_MS; ; await sleep(POLL_MS)) {
    const other = takeLock(file);
    if (other === undefined) return () => releaseLock(file);
    if (performance.now() > deadline)
      throw new OperatorError(`${dataDir} is in use by another scsp, process ${other.pid}`);
  }
}

/** Creates the context of a command, which has no listener and does not call CPOs. */
function contextOf(config: Config, db: Database, stderr: NodeJS.WritableStream): CommandContext {
  const log = createLog('error', stderr);
  return {
    config,
    db,
    log,
    metrics: createMetrics(log),
    random,
    actor: config.actor ?? actor(),
    /** Derived on first use, because this may create `DATA_DIR/secret-key`. */
    get keys() {
      const given = config.secretKey !== undefined || existsSync(join(config.dataDir, 'secret-key'));
      // A service elsewhere could not use what is hashed or encrypted with a newly generated key.
      if (config.databaseUrl !== undefined && !given)
        throw new OperatorError('SECRET_KEY must be set to the key of the service');
      return deriveKeys(secretKey(config), config.previousSecretKey);
    },
  };
}

/** Returns the configured database, or the embedded one, which is started if it is not running. */
async function acquireDatabase(config: Config): Promise<{ url: string; release(): Promise<void> }> {
  const running = config.directDatabaseUrl ?? (await attachEmbedded(config.dataDir));
  if (running !== undefined) return { url: running, release: async () => {} };
  const postgres = await startEmbedded({ dir: config.dataDir });
  return { url: postgres.url, release: () => postgres.stop() };
}
