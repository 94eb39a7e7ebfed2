import type { Config } from './config';
import type { Contract } from './contract/document';
import type { CpoCalls } from './cpos/client';
import type { Bell } from './db/listener';
import type { Database } from './db/pool';
import type { Log } from './log';
import type { Events } from './metrics';

/** Where randomness comes from; a test may bring its own. */
export type Chance = {
  bytes(count: number): Buffer;
  /** A string of so many decimal digits, each string as likely as any other. */
  digits(count: number): string;
  /** A UUIDv7, for what is stored. */
  uuid(): string;
  /** A UUIDv4, which costs less and need not be in order. */
  requestId(): string;
};

/** Keys derived from SECRET_KEY, one for each purpose. */
export type SealingKey = { readonly id: string; readonly key: Buffer };
export type Keys = {
  /** The current one first, then those that codes still alive may be hashed with. */
  readonly pairingCode: readonly Buffer[];
  /** The current one first, then that of the keys that were used with it in the last 24 hours. */
  readonly idempotency: readonly Buffer[];
  /** Of users and uids, where a row must be found again but must not say whose it is; the current one first. */
  readonly subject: readonly Buffer[];
  /** The current one first, then those that older secrets were sealed with. */
  readonly sealing: readonly SealingKey[];
};

/** What every verb needs; built once by the composition root and passed first. */
export type Context = {
  readonly config: Config;
  readonly contract: Contract;
  readonly db: Database;
  readonly bell: Bell;
  readonly calls: CpoCalls;
  readonly log: Log;
  readonly events: Events;
  readonly chance: Chance;
  readonly keys: Keys;
  /** Aborted when the service begins to stop. */
  readonly stopping: AbortSignal;
};
