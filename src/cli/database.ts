import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Audited, actor } from '../audit/audit';
import { type Config, settingOf } from '../config';
import type { Context } from '../context';
import { deriveKeys, secretKey } from '../crypto/keys';
import { random } from '../crypto/random';
import { throwUnreachable } from '../db/connection-errors';
import { requireDeployment } from '../db/deployment';
import { lacksMigrations, migrate, NotMigrated } from '../db/migrate';
import { type Database, openDatabase } from '../db/pool';
import { transaction } from '../db/query';
import { requireServer } from '../db/require-server';
import { schema } from '../db/schema';
import { attachEmbedded, hasEmbedded, startEmbedded } from '../embedded-postgres/launcher';
import { releaseLock, takeLock } from '../embedded-postgres/lock';
import { createLog } from '../log';
import { createMetrics } from '../metrics';
import { OperatorError } from '../problems';
import type { Answer, Given } from './verb';

/** What the verbs of commands need. */
export type CommandContext = Pick<Context, 'config' | 'db' | 'log' | 'metrics' | 'random' | 'keys'> & Audited;

const TURN_MS = 30_000;
const POLL_MS = 20;
const CLOSE_MS = 1_000;

/**
 * Works with the database of these settings, which is running for so long.
 * @throws OperatorError when they name none and DATA_DIR has none
 */
export async function withDatabaseUrl<T>(config: Config, work: (url: string) => Promise<T>): Promise<T> {
  const embedded = config.directDatabaseUrl === undefined;
  if (embedded && !hasEmbedded(config.dataDir))
    throw new OperatorError(
      `DATABASE_URL is not set, and DATA_DIR (${config.dataDir}) has no embedded database: set DATABASE_URL, or DATA_DIR to where the service keeps it`,
    );
  const endTurn = embedded ? await takeTurn(config.dataDir) : () => {};
  try {
    const { url, giveBack } = await borrowDatabase(config);
    return await work(url).finally(giveBack);
  } finally {
    endTurn();
  }
}

/**
 * Works with what every verb needs, on a database that has all migrations.
 * @throws OperatorError when the database is away, lacks migrations or is a sandbox where the settings say otherwise
 */
export function withContext<T>({ config, stderr }: Given, work: (ctx: CommandContext) => Promise<T>): Promise<T> {
  return withDatabaseUrl(config, async (url) => {
    const refuse = throwUnreachable(settingOf(config, url), url);
    const db = await openDatabase(url, schema, 2).catch(refuse);
    try {
      await requireServer(db);
      if (await lacksMigrations(db)) {
        if (config.databaseUrl !== undefined) throw new NotMigrated();
        await migrate(url, schema, { sandbox: config.sandbox }).catch(refuse);
      } else await requireDeployment(db, config.sandbox);
      return await work(contextOf(config, db, stderr));
    } finally {
      // A database that fell silent does not say goodbye either.
      await Promise.race([db.destroy().catch(() => undefined), sleep(CLOSE_MS, undefined, { ref: false })]);
    }
  });
}

/**
 * Commits a change after its answer has been printed: nothing secret is stored that nobody was shown.
 * @throws what keeps the answer from being printed; the change is then rolled back
 */
export async function showThenCommit(
  { print }: Given,
  { db, random, actor }: CommandContext,
  change: (tx: Audited) => Promise<Answer>,
): Promise<undefined> {
  await transaction(db, async (tx) => print(await change({ db: tx, random, actor })));
}

/**
 * Commands on the embedded database take turns: one that finds it stopped starts it and stops it at its end, under
 * whoever has joined in.
 */
async function takeTurn(dataDir: string): Promise<() => void> {
  const file = join(dataDir, 'cli.lock');
  for (const deadline = performance.now() + TURN_MS; ; await sleep(POLL_MS)) {
    const other = takeLock(file);
    if (other === undefined) return () => releaseLock(file);
    if (performance.now() > deadline)
      throw new OperatorError(`${dataDir} is in use by another scsp, process ${other.pid}`);
  }
}

/** A command waits for nothing and calls nobody. */
function contextOf(config: Config, db: Database, stderr: NodeJS.WritableStream): CommandContext {
  const log = createLog('error', stderr);
  return {
    config,
    db,
    log,
    metrics: createMetrics(log),
    random,
    actor: config.actor ?? actor(),
    /** Only when asked for: this may make `DATA_DIR/secret-key`. */
    get keys() {
      const given = config.secretKey !== undefined || existsSync(join(config.dataDir, 'secret-key'));
      // What is hashed or sealed with a key of its own would be of no use to a service elsewhere.
      if (config.databaseUrl !== undefined && !given)
        throw new OperatorError("SECRET_KEY must be set, to the service's");
      return deriveKeys(secretKey(config), config.previousSecretKey);
    },
  };
}

/** The database of these settings for a command: the configured one, or the embedded one, running or not. */
async function borrowDatabase(config: Config): Promise<{ url: string; giveBack(): Promise<void> }> {
  const running = config.directDatabaseUrl ?? (await attachEmbedded(config.dataDir));
  if (running !== undefined) return { url: running, giveBack: async () => {} };
  const postgres = await startEmbedded({ dir: config.dataDir });
  return { url: postgres.url, giveBack: () => postgres.stop() };
}
