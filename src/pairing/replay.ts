import { hashCode, normalizeCode } from '../codes/code';
import type { Context } from '../context';
import { rows } from '../db/query';
import { Problem } from '../problems';
import { REPLAYED } from './idempotency';

/** Codes are not reissued while an Idempotency-Key is valid, so the latest pairing by a code is the one to replay. */
const PAIRED_BY = `
select p.user_id is not null as known
from pairing_codes c join pairings p on p.code_id = c.id
where c.hash = any($1) and p.cpo_id = $2
order by c.created_at desc limit 1`;

/**
 * Rejects the replay of an outcome stored by a 0.1 replica if the pairing's user has been forgotten (contract, section 6).
 * @throws Problem `incorrect-code`
 */
export async function rejectIfForgotten(ctx: Context, cpoId: string, code: string): Promise<void> {
  const hashes = ctx.keys.pairingCode.map((key) => hashCode(key, normalizeCode(code)));
  const [pairing] = await rows<{ known: boolean }>(ctx.db, PAIRED_BY, [hashes, cpoId]);
  if (!pairing?.known) throw new Problem('incorrect-code', { headers: REPLAYED });
}
