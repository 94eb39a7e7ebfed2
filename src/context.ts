import type { Config } from './config';
import type { Keys } from './crypto/keys';
import type { Random } from './crypto/random';
import type { Listener } from './db/listener';
import type { Database } from './db/pool';
import type { Log } from './log';
import type { Metrics } from './metrics/metrics';

/** What every verb needs; built once by the composition root and passed first. */
export type Context = {
  readonly config: Config;
  readonly db: Database;
  readonly listener: Listener;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random: Random;
  readonly keys: Keys;
  /** Aborted when the service begins to stop. */
  readonly stopping: AbortSignal;
};
