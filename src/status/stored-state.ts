import type { TableBacklog } from '../retention/backlog';
import type { ReplicaState } from './replica-state';

/** Seconds are those of the database's clock. What the role may not see is undefined. */
export type DatabaseState = {
  readonly version: string;
  readonly isPrimary: boolean;
  readonly sizeBytes: number;
  readonly connections: number;
  readonly maxConnections: number;
  readonly synchronousStandbyNames: string;
  /** The number of processes that send WAL, each to a standby or a backup. Every role sees it. */
  readonly walSenders: number;
  /** The number of streaming standbys. */
  readonly standbys: number | undefined;
  /** The number of streaming standbys that commits wait for. */
  readonly synchronousStandbys: number | undefined;
  /** Of the standby that is furthest behind, or of this server if it is one; undefined without a standby. */
  readonly lagSeconds: number | undefined;
};

export type Replica = {
  readonly id: string;
  readonly version: string;
  readonly nodeVersion: string;
  readonly host: string;
  readonly startedAt: Date;
  readonly seenAt: Date;
  readonly notSeenSeconds: number;
  readonly state: Partial<ReplicaState>;
};

export type CodeLength = {
  readonly length: number;
  readonly active: number;
  /** Of the codes of this length that may be active at once. */
  readonly usedRatio: number;
};

export type NamedCpo = { readonly id: string; readonly name: string };
export type CpoAtLimit = NamedCpo & { readonly at10Min: boolean; readonly at24H: boolean };
/** The latest calls to a CPO, at most 20, of the last 5 minutes. `failed`: with 5xx, 401, 403 or an invalid response. */
export type CalledCpo = NamedCpo & { readonly calls: number; readonly notAnswered: number; readonly failed: number };
export type OpenCircuit = NamedCpo & { readonly openSince: Date };

export type Endpoint = {
  readonly id: string;
  readonly appName: string;
  readonly status: 'enabled' | 'disabled';
  readonly disabledReason: string | null;
  /** Null: the last attempt succeeded. */
  readonly failingSeconds: number | null;
};

export type ExpiringToken = {
  readonly id: string;
  readonly role: string;
  readonly owner: string;
  readonly expiresAt: Date;
  readonly expiresInSeconds: number;
};

/** What waits, and the age of the oldest, 0 if nothing waits. */
export type Queue = { readonly waiting: number; readonly oldestSeconds: number };

/** What the database knows of the deployment. Counts end at 10,000. Self-service CPOs of a sandbox are left out. */
export type StoredState = {
  /** The database's time. */
  readonly readAt: Date;
  readonly database: DatabaseState;
  /** Seen within the last hour, the longest running first. */
  readonly replicas: readonly Replica[];
  readonly codes: readonly CodeLength[];
  readonly atLimit: readonly CpoAtLimit[];
  readonly suspended: readonly NamedCpo[];
  readonly called: readonly CalledCpo[];
  /** Of the replicas that are alive, each CPO once. */
  readonly circuits: readonly OpenCircuit[];
  readonly outbox: Queue & { readonly deadLettered: number };
  readonly events: Queue;
  readonly deliveries: Queue;
  /** Enabled and disabled ones. */
  readonly endpoints: readonly Endpoint[];
  /** Within 30 days, the first to expire first. */
  readonly tokens: readonly ExpiringToken[];
  readonly erasures: Queue;
  readonly backlog: readonly TableBacklog[];
};
