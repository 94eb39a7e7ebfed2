import type { Context } from '../context';
import { subjectHashes } from '../crypto/keys';
import { ADVISORY_LOCKS } from '../db/locks';
import { rows, transaction } from '../db/query';
import { Problem } from '../problems';

const WINDOW = `interval '10 minutes'`;

/**
 * Inserts an attempt, or returns the limit reached and the seconds until enough attempts have left the window. An
 * attempt in progress counts as incorrect. "is true" keeps the planner from the index of retention on the time.
 */
const BEGIN_ATTEMPT = `
with recent as materialized (
  select began_at, outcome from redemption_attempts where user_hash = any ($2::bytea[])
    and (began_at > now() - ${WINDOW}) is true
), incorrect as (
  select began_at from recent where outcome is null or outcome = 'incorrect-code' order by began_at desc limit $3
), calls as (
  select began_at from recent order by began_at desc limit $4
), reached as (
  select 'too-many-incorrect-codes' as problem, min(began_at) as oldest from incorrect having count(*) >= $3
  union all
  select 'too-many-redemptions', min(began_at) from calls having count(*) >= $4
), begun as (
  insert into redemption_attempts (id, user_hash) select $1, ($2::bytea[])[1] where not exists (select from reached)
)
select problem, greatest(1, ceil(extract(epoch from oldest + ${WINDOW} - now())))::int as "retryAfter"
from reached order by problem`;

/** Lists the outcomes written here; `scsp_redeem_v3` writes `answered`, and erasing a user `forgotten`. */
type FinalOutcome = 'incorrect-code' | 'failed';

const END_ATTEMPT = `
with ended as (
  update redemption_attempts set outcome = $2 where id = $1 and outcome is null returning 1
)
select count(*) from ended`;

/**
 * Records an attempt before the call to the CPO. After a crash it counts as in progress for ten minutes. During a rotation of
 * SECRET_KEY the attempts under both keys count, and the locks are those of both.
 * @throws Problem `too-many-incorrect-codes`, `too-many-redemptions`, `unavailable`
 */
export function beginAttempt(ctx: Context, userId: string): Promise<string> {
  const id = ctx.random.uuid();
  const hashes = subjectHashes(ctx.keys, 'user', userId);
  const { user10Min, userCalls10Min } = ctx.config.limits;
  return transaction(ctx.db, async (tx) => {
    for (const lock of hashes.map((hash) => hash.toString('hex')).sort())
      await rows(tx, 'select pg_advisory_xact_lock($1, hashtext($2))', [ADVISORY_LOCKS.redemption, lock]);
    const [reached] = await rows<{ problem: 'too-many-incorrect-codes' | 'too-many-redemptions'; retryAfter: number }>(
      tx,
      BEGIN_ATTEMPT,
      [id, hashes, user10Min, userCalls10Min],
    );
    if (reached === undefined) return id;
    throw new Problem(reached.problem, { headers: { 'Retry-After': String(reached.retryAfter) } });
  });
}

/** Ends an attempt. One that never reached the CPO (circuit open) is deleted and does not count. */
export async function endAttempt(ctx: Context, id: string, error: unknown): Promise<void> {
  const type = error instanceof Problem ? error.type : undefined;
  if (type === 'unavailable') {
    await rows(ctx.db, 'delete from redemption_attempts where id = $1 and outcome is null', [id]);
    return;
  }
  const outcome: FinalOutcome = type === 'incorrect-code' ? type : 'failed';
  await rows(ctx.db, END_ATTEMPT, [id, outcome]);
}
