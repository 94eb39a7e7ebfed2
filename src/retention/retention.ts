import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { rowsInIndexOrder } from '../db/query';
import { readRetentionBacklog } from './backlog';
import { parametersOf, type RetentionRule, removeBatch } from './rule';
import { RULES } from './rules';

type RetentionContext = Pick<Context, 'config' | 'db' | 'log' | 'stopping'>;

/** The pause after a batch, in units of its duration, so that a backlog uses at most a fifth of a core. */
const PAUSE_FACTOR = 4;
/** After so many batches of a rule the others have their turn, so that a backlog of one table does not keep the others waiting. */
const BATCHES_PER_TURN = 100;
/** When the cleanup first runs, and then how often. */
export const RETENTION_TIMES: RetentionTimes = { firstMs: 60_000, everyMs: 600_000 };

type Batch = { locked: boolean; count: number };
type Turn = 'finished' | 'more' | 'stopped';

/**
 * Removes due rows of all tables in batches, the rules taking turns. Stops if another replica is doing so.
 * @returns whether it came to the end
 * @throws Problem `unavailable`
 */
export async function runRetention(
  ctx: RetentionContext,
  pause: Pause = pauseUntilStopped,
  rules: readonly RetentionRule[] = RULES,
): Promise<boolean> {
  for (let unfinished = rules; unfinished.length > 0; ) {
    const more: RetentionRule[] = [];
    for (const rule of unfinished) {
      const turn = await takeTurn(ctx, rule, pause);
      if (turn === 'stopped') return false;
      if (turn === 'more') more.push(rule);
    }
    unfinished = more;
  }
  return true;
}

/** Removes due rows, and logs how many are left, because somebody has locked them. */
async function removeAndReport(ctx: RetentionContext): Promise<void> {
  if (!(await runRetention(ctx))) return;
  const backlog = await readRetentionBacklog(ctx);
  const count = backlog.reduce((sum, { rows }) => sum + rows, 0);
  if (count > 0) ctx.log.info('old rows left for the next run', { count });
}

/** Removes some batches of a rule, and logs how many rows these were. */
async function takeTurn(ctx: RetentionContext, rule: RetentionRule, pause: Pause): Promise<Turn> {
  const sql = rule.remove ?? removeBatch(rule);
  const parameters = parametersOf(rule, ctx.config);
  let total = 0;
  let turn: Turn = 'more';
  for (let n = 0; n < BATCHES_PER_TURN && turn === 'more'; n++) {
    const startedAt = performance.now();
    const [batch] = ctx.stopping.aborted ? [] : await rowsInIndexOrder<Batch>(ctx.db, sql, parameters);
    if (!batch?.locked) turn = 'stopped';
    else if (batch.count === 0) turn = 'finished';
    else {
      total += batch.count;
      await pause(PAUSE_FACTOR * (performance.now() - startedAt), ctx.stopping);
    }
  }
  if (total > 0) ctx.log.info(`old ${rule.name} removed`, { count: total });
  return turn;
}

export type Pause = (ms: number, stopping: AbortSignal) => Promise<void>;

/** Ends early when the service stops. */
const pauseUntilStopped: Pause = (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined);

export type RetentionTimes = { readonly firstMs: number; readonly everyMs: number };

/** Runs the retention job periodically until stopped. The next run makes up for a failed one. */
export function startRetention(ctx: RetentionContext, times: Partial<RetentionTimes> = {}): { stop(): Promise<void> } {
  const { firstMs, everyMs } = { ...RETENTION_TIMES, ...times };
  let timer: NodeJS.Timeout;
  let running = Promise.resolve();
  const schedule = (ms: number) => {
    timer = setTimeout(() => {
      running = removeAndReport(ctx)
        .catch((error: unknown) => ctx.log.warn('retention failed', { reason: String(error) }))
        .then(() => {
          if (!ctx.stopping.aborted) schedule(everyMs);
        });
    }, ms).unref();
  };
  schedule(firstMs);
  return {
    async stop() {
      clearTimeout(timer);
      await running;
    },
  };
}
