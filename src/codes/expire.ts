import type { Context } from '../context';
import { rows, transaction } from '../db/query';
import { type PeriodicJob, startPeriodic } from '../delivery/periodic';

type ExpiryContext = Pick<Context, 'db' | 'metrics' | 'log' | 'stopping'>;

/** Limits the codes that one statement expires, to stay well below the statement time-out. */
const BATCH = 1_000;
const EVERY_MS = 1_000;

const EXPIRE = 'select ids, more from scsp_expire_codes_v3($1)';
type Expired = { ids: string[]; more: boolean };

/**
 * Expires due codes in batches (contract, section 4). Does nothing while another replica is doing so.
 * @throws Problem `unavailable`
 */
export async function expireCodes(ctx: ExpiryContext, batchSize = BATCH): Promise<void> {
  for (let more = true; more && !ctx.stopping.aborted; ) {
    // The statement reads ranges: a stricter isolation level would roll back concurrent transactions.
    const [batch] = await transaction(ctx.db, (tx) => rows<Expired>(tx, EXPIRE, [batchSize]), 'READ COMMITTED');
    for (const id of batch?.ids ?? []) ctx.metrics.codeExpired(id, undefined);
    more = batch?.more ?? false;
  }
}

export type ExpiryTimes = { readonly everyMs: number };

/** Expires codes every second until stopped. */
export function startExpiry(ctx: ExpiryContext, { everyMs = EVERY_MS }: Partial<ExpiryTimes> = {}): PeriodicJob {
  return startPeriodic({ name: 'code expiry', everyMs, ...ctx }, () => expireCodes(ctx));
}
