import type { Config } from './config';
import type { Bell } from './db/bell';
import type { Database } from './db/database';
import type { Events } from './events';
import type { Log } from './log';

/** Where randomness comes from; a test may bring its own. */
export type Chance = {
  bytes(count: number): Buffer;
  /** A string of so many decimal digits, each string as likely as any other. */
  digits(count: number): string;
  /** A UUIDv7. */
  uuid(): string;
};

/** Keys derived from SECRET_KEY, one for each purpose. */
export type Keys = { readonly pairingCode: Buffer };

/** What every verb needs; built once by the composition root and passed first. */
export type Context = {
  readonly config: Config;
  readonly db: Database;
  readonly bell: Bell;
  readonly log: Log;
  readonly events: Events;
  readonly chance: Chance;
  readonly keys: Keys;
  /** Aborted when the service begins to stop. */
  readonly stopping: AbortSignal;
};
