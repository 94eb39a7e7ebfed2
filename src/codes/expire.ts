import type { Context } from '../context';
import { rows, transaction } from '../db/query';

type ExpiryContext = Pick<Context, 'db' | 'metrics' | 'log' | 'stopping'>;

/** Limits the codes that one statement expires, to stay well below the statement time-out. */
const BATCH = 1_000;
const EVERY_MS = 1_000;

const EXPIRE = 'select ids, more from scsp_expire_codes_v2($1)';
type Expired = { ids: string[]; more: boolean };

/**
 * Expires due codes in batches (contract, section 4). Does nothing while another replica is doing so.
 * @throws Problem `unavailable`
 */
export async function expireCodes(ctx: ExpiryContext, batchSize = BATCH): Promise<void> {
  for (let more = true; more && !ctx.stopping.aborted; ) {
    // The statement reads ranges: a stricter isolation level would roll back concurrent transactions.
    const [batch] = await transaction(ctx.db, (tx) => rows<Expired>(tx, EXPIRE, [batchSize]), 'READ COMMITTED');
    for (const id of batch?.ids ?? []) ctx.metrics.codeExpired(id);
    more = batch?.more ?? false;
  }
}

export type ExpiryTimes = { readonly everyMs: number };

/** Expires codes every second until stopped. Consecutive failures are logged once; the next run catches up. */
export function startExpiry(
  ctx: ExpiryContext,
  { everyMs = EVERY_MS }: Partial<ExpiryTimes> = {},
): { stop(): Promise<void> } {
  let timer: NodeJS.Timeout;
  let running = Promise.resolve();
  let failing = false;
  const run = async () => {
    try {
      await expireCodes(ctx);
      failing = false;
    } catch (error) {
      if (!failing) ctx.log.warn('code expiry failed, retrying', { reason: String(error) });
      failing = true;
    }
    if (!ctx.stopping.aborted) schedule();
  };
  const schedule = () => {
    timer = setTimeout(() => {
      running = run();
    }, everyMs).unref();
  };
  schedule();
  return {
    async stop() {
      clearTimeout(timer);
      await running;
    },
  };
}
