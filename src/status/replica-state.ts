import type { Pool } from 'pg';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver';
import type { Context } from '../context';
import type { Database } from '../db/pool';
import type { Circuits } from '../outbound/circuit';
import { RecentCounts } from './recent-counts';

/** The state of a replica as stored, in JSON. A replica of another version may lack members. */
export type ReplicaState = {
  /** CPOs whose circuit has opened and not closed again, at most 100. Times are those of the database's clock. */
  readonly circuits: readonly { readonly cpo_id: string; readonly open_since: string }[];
  /** The number of webhook endpoints that are not called at present. */
  readonly webhook_circuits: number;
  readonly listener: { readonly connected: boolean; readonly disconnected_since?: string };
  readonly pool: { readonly used: number; readonly idle: number; readonly waiting: number };
  /** The host's clock minus the database's. */
  readonly clock_offset_seconds: number;
  /** Of the last 5 minutes: errors of the database by reason, and lines that the log lost. */
  readonly database_errors: Readonly<Record<string, number>>;
  readonly log_lines_lost: number;
};

/** The circuits of this process, of CPOs and of webhook endpoints. */
export type CircuitSources = {
  readonly cpos: Pick<Circuits, 'ages'>;
  readonly webhooks: { openCircuits(): number };
};

const MAX_CIRCUITS = 100;

/** Observes this process. */
export class ReplicaObserver {
  readonly #pool: Pool;
  readonly #databaseErrors: RecentCounts;
  readonly #lostLines: RecentCounts;
  #disconnectedSince: number | undefined;

  constructor(
    readonly ctx: Pick<Context, 'listener' | 'metrics'> & { readonly db: Database },
    readonly sources: CircuitSources,
  ) {
    this.#pool = (ctx.db.driver as PostgresDriver).master;
    this.#databaseErrors = new RecentCounts(ctx.metrics.registry, 'scsp_database_errors_total', 'reason');
    this.#lostLines = new RecentCounts(ctx.metrics.registry, 'scsp_log_lines_lost_total');
  }

  /** Returns what is written at once when it changes. */
  change(): string {
    const circuits = this.sources.cpos.ages().map(({ target }) => target);
    return JSON.stringify([circuits.sort(), this.sources.webhooks.openCircuits(), this.ctx.listener.connected]);
  }

  /** Must be called regularly: a disconnection is noticed by it. */
  async observe(): Promise<ReplicaState> {
    const { listener } = this.ctx;
    const now = listener.now();
    this.#disconnectedSince = listener.connected ? undefined : (this.#disconnectedSince ?? now);
    const { totalCount, idleCount, waitingCount } = this.#pool;
    const at = (ms: number) => new Date(ms).toISOString();
    const errors = await this.#databaseErrors.read();
    const lost = await this.#lostLines.read();
    return {
      circuits: this.sources.cpos
        .ages()
        .slice(0, MAX_CIRCUITS)
        .map(({ target, ms }) => ({ cpo_id: target, open_since: at(now - ms) })),
      webhook_circuits: this.sources.webhooks.openCircuits(),
      listener: {
        connected: listener.connected,
        ...(this.#disconnectedSince !== undefined && { disconnected_since: at(this.#disconnectedSince) }),
      },
      pool: { used: totalCount - idleCount, idle: idleCount, waiting: waitingCount },
      clock_offset_seconds: clockOffsetSeconds(listener),
      database_errors: errors,
      log_lines_lost: lost[''] ?? 0,
    };
  }
}

/** Returns this host's clock minus the database's, to the millisecond. */
export function clockOffsetSeconds(listener: Pick<Context['listener'], 'now'>): number {
  return Math.round(Date.now() - listener.now()) / 1_000;
}
