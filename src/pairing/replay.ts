import { hashCode, normalizeCode } from '../codes/code';
import type { Context } from '../context';
import { rows } from '../db/query';
import { Problem } from '../problems';
import { REPLAYED } from './idempotency';

/** Values are not issued again for as long as an Idempotency-Key counts: the latest pairing by that code is the one. */
const PAIRED_BY = `
select p.user_id is not null as known
from pairing_codes c join pairings p on p.code_id = c.id
where c.hash = any($1) and p.cpo_id = $2
order by c.created_at desc limit 1`;

/**
 * Refuses to replay that a code has paired once its user was forgotten (contract, section 6).
 * @throws Problem `incorrect-code`
 */
export async function refuseForgotten(ctx: Context, cpoId: string, code: string): Promise<void> {
  const hashes = ctx.keys.pairingCode.map((key) => hashCode(key, normalizeCode(code)));
  const [pairing] = await rows<{ known: boolean }>(ctx.db, PAIRED_BY, [hashes, cpoId]);
  if (!pairing?.known) throw new Problem('incorrect-code', { headers: REPLAYED });
}
