import { NIL } from 'uuid';
import { readExported } from '../audit/exported';
import { subjectHashes } from '../crypto/keys';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import { type Forgetting, forgetUser } from './forget';
import { completeErasuresOf } from './pending-erasures';

/** The time of each erasure by the keyed hash of the user (hex); the latest one if there are several. */
export type Erasures = ReadonlyMap<string, Date>;

/** The number of rows that one statement reads. */
const BATCH = 5_000;

export type Replayed = { readonly users: number; readonly codes: number; readonly pairings: number };

/**
 * Parses erasures from the output of `scsp audit list --json` or from lines of the service's log.
 * @throws OperatorError when an entry is invalid
 */
export function readErasures(text: string): Erasures {
  const erasures = new Map<string, Date>();
  for (const entry of readExported(text, ['user forgotten', 'user.forget'])) {
    const { action, detail, happened_at, message, user_hash, timestamp } = entry;
    const logged = message === 'user forgotten';
    if (!logged && action !== 'user.forget') continue;
    const hash: unknown = logged ? user_hash : Object(detail).user_hash;
    const at = new Date(String(logged ? timestamp : happened_at));
    if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash) || Number.isNaN(at.getTime()))
      throw new OperatorError('an entry about a forgotten user has no valid hash or time');
    const known = erasures.get(hash);
    if (known === undefined || known < at) erasures.set(hash, at);
  }
  return erasures;
}

/**
 * Repeats erasures after a restore. Finds the users by their hashes under SECRET_KEY and SECRET_KEY_PREVIOUS, and keeps codes and
 * pairings that began after the erasure. Idempotent.
 */
export async function replayErasures(ctx: Forgetting, erasures: Erasures): Promise<Replayed> {
  const total = { users: 0, codes: 0, pairings: 0 };
  for (const table of ['pairing_codes', 'pairings'] as const)
    for await (const userId of usersOf(ctx.db, table)) {
      const before = latest(subjectHashes(ctx.keys, 'user', userId).map((hash) => erasures.get(hash.toString('hex'))));
      if (before === undefined) continue;
      const { codes, pairingIds } = await forgetUser(ctx, userId, { before });
      await completeErasuresOf(ctx.db, pairingIds, () => true);
      if (codes + pairingIds.length > 0) total.users += 1;
      total.codes += codes;
      total.pairings += pairingIds.length;
    }
  return total;
}

/** Yields the users in a table, each at least once, in batches by the primary key. */
async function* usersOf(db: Database, table: 'pairing_codes' | 'pairings'): AsyncGenerator<string> {
  const sql = `select id, user_id as "userId" from ${table} where id > $1 order by id limit ${BATCH}`;
  for (let after: string | undefined = NIL; after !== undefined; ) {
    const batch: { id: string; userId: string | null }[] = await rows(db, sql, [after]);
    for (const userId of new Set(batch.map((row) => row.userId))) if (userId !== null) yield userId;
    after = batch.at(-1)?.id;
  }
}

function latest(times: readonly (Date | undefined)[]): Date | undefined {
  return times.reduce(
    (last, time) => (last === undefined || (time !== undefined && time > last) ? time : last),
    undefined,
  );
}
