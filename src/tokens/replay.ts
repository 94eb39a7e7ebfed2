import { validate as isUuid } from 'uuid';
import type { Audited } from '../audit/audit';
import { readExported } from '../audit/exported';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import { revokeToken } from './revoke';

/** The message that the service logs when it notices a revocation. */
export const REVOKED_MESSAGE = 'token revoked';

/**
 * Returns the ids of revoked tokens from the output of `scsp audit list --json` or from lines of the service's log.
 * @throws OperatorError when an entry is invalid
 */
export function readRevocations(text: string): readonly string[] {
  const ids = new Set<string>();
  for (const { action, subject_id, message, token_id } of readExported(text, [REVOKED_MESSAGE, 'token.revoke'])) {
    const logged = message === REVOKED_MESSAGE;
    if (!logged && action !== 'token.revoke') continue;
    const id = logged ? token_id : subject_id;
    if (typeof id !== 'string' || !isUuid(id))
      throw new OperatorError('an entry about a revoked token has no valid id');
    ids.add(id);
  }
  return [...ids];
}

/**
 * Repeats revocations after a restore. Skips tokens that the database does not have, because they were issued after the backup.
 * Idempotent.
 * @returns the number of tokens that were valid and are revoked now
 */
export async function replayRevocations(
  ctx: Omit<Audited, 'db'> & { readonly db: Database },
  ids: readonly string[],
): Promise<number> {
  const sql = 'select id from tokens where id = any ($1) and revoked_at is null order by id';
  const valid = await rows<{ id: string }>(ctx.db, sql, [ids]);
  // Each token that was revoked with another has an entry of its own.
  for (const { id } of valid) await revokeToken(ctx, id, { successors: false });
  return valid.length;
}
