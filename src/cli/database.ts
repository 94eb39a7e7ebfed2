import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config';
import type { Context } from '../context';
import { type Audited, actor } from '../db/audit';
import { type Database, openDatabase } from '../db/database';
import { releaseLock, takeLock } from '../db/embedded-lock';
import { lacksMigrations, migrate, NotMigrated } from '../db/migrate';
import { requireServer } from '../db/require-server';
import { createEvents } from '../events';
import { createLog } from '../log';
import { borrowDatabase, model } from '../model';
import { chance, deriveKeys, secretKey } from '../secrets';
import { refuseAsAway } from './reason';
import type { Given } from './verb';

/** What the verbs of commands need. */
export type CommandContext = Pick<Context, 'config' | 'db' | 'log' | 'events' | 'chance' | 'keys'> & Audited;

const TURN_MS = 30_000;
const POLL_MS = 20;
const CLOSE_MS = 1_000;

/** Works with the database of these settings, which is running for so long. */
export async function withDatabaseUrl<T>(config: Config, work: (url: string) => Promise<T>): Promise<T> {
  const endTurn = config.directDatabaseUrl === undefined ? await takeTurn(config.dataDir) : () => {};
  try {
    const { url, giveBack } = await borrowDatabase(config);
    return await work(url).finally(giveBack);
  } finally {
    endTurn();
  }
}

/**
 * Works with what every verb needs, on a database that has all migrations.
 * @throws RangeError when the database is away or lacks migrations
 */
export function withContext<T>({ config, stderr }: Given, work: (ctx: CommandContext) => Promise<T>): Promise<T> {
  return withDatabaseUrl(config, async (url) => {
    const db = await openDatabase(url, model, 2).catch(refuseAsAway);
    try {
      await requireServer(db);
      if (await lacksMigrations(db)) {
        if (config.databaseUrl !== undefined) throw new NotMigrated();
        await migrate(url, model).catch(refuseAsAway);
      }
      return await work(contextOf(config, db, stderr));
    } finally {
      // A database that fell silent does not say goodbye either.
      await Promise.race([db.destroy().catch(() => undefined), sleep(CLOSE_MS, undefined, { ref: false })]);
    }
  });
}

/**
 * Commands on the embedded database take turns: one that finds it stopped starts it and stops it at its end, under
 * whoever has joined in.
 */
async function takeTurn(dataDir: string): Promise<() => void> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, 'cli.lock');
  for (const deadline = performance.now() + TURN_MS; ; await sleep(POLL_MS)) {
    const other = takeLock(file);
    if (other === undefined) return () => releaseLock(file);
    if (performance.now() > deadline)
      throw new RangeError(`${dataDir} is in use by another scsp, process ${other.pid}`);
  }
}

/** A command waits for nothing and calls nobody. */
function contextOf(config: Config, db: Database, stderr: NodeJS.WritableStream): CommandContext {
  const log = createLog('error', stderr);
  return {
    config,
    db,
    log,
    events: createEvents(log),
    chance,
    actor: actor(),
    /** Only when asked for: this may make `DATA_DIR/secret-key`. */
    get keys() {
      const given = config.secretKey !== undefined || existsSync(join(config.dataDir, 'secret-key'));
      // What is hashed or sealed with a key of its own would be of no use to a service elsewhere.
      if (config.databaseUrl !== undefined && !given) throw new RangeError("SECRET_KEY must be set, to the service's");
      return deriveKeys(secretKey(config), config.previousSecretKey);
    },
  };
}
