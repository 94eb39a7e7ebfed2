import type { Context } from '../context';
import { rows, transaction } from '../db/query';

type Expiring = Pick<Context, 'db' | 'metrics' | 'log' | 'stopping'>;

/** Codes that one statement expires, few enough to be far below the statement time-out. */
const BATCH = 1_000;
const EVERY_MS = 1_000;

const EXPIRE = 'select ids, more from scsp_expire_codes_v1($1)';
type Expired = { ids: string[]; more: boolean };

/**
 * Expires the codes whose time is over, batch after batch, unless another replica is doing so (contract, section 4).
 * @throws Problem `unavailable`
 */
export async function expireCodes(ctx: Expiring, largest = BATCH): Promise<void> {
  for (let more = true; more && !ctx.stopping.aborted; ) {
    // It reads ranges, for which a stricter isolation would roll back others.
    const [batch] = await transaction(ctx.db, (tx) => rows<Expired>(tx, EXPIRE, [largest]), 'READ COMMITTED');
    for (const id of batch?.ids ?? []) ctx.metrics.codeExpired(id);
    more = batch?.more ?? false;
  }
}

export type ExpiryTimes = { readonly everyMs: number };

/** Expires codes every second until it is stopped. A failure is logged once, and what it left is done after it. */
export function startExpiry(
  ctx: Expiring,
  { everyMs = EVERY_MS }: Partial<ExpiryTimes> = {},
): { stop(): Promise<void> } {
  let timer: NodeJS.Timeout;
  let under = Promise.resolve();
  let failing = false;
  const run = async () => {
    try {
      await expireCodes(ctx);
      failing = false;
    } catch (error) {
      if (!failing) ctx.log.warn('expiring codes failed, trying again', { reason: String(error) });
      failing = true;
    }
    if (!ctx.stopping.aborted) schedule();
  };
  const schedule = () => {
    timer = setTimeout(() => {
      under = run();
    }, everyMs).unref();
  };
  schedule();
  return {
    async stop() {
      clearTimeout(timer);
      await under;
    },
  };
}
