import type { EntityManager } from 'typeorm';
import type { Context } from '../context';
import { rows, transaction } from '../db/query';
import { PAIR, type PairResult, type PairRow, pairParameters } from '../pairing/pair-statement';

const LOCK_COUNTER = 'select from cpo_tries where cpo_id = $1 for update';

/** Records the attempt that 000503 answers with 503, if it is the first one for the uid. */
const FIRST_FOR_UID = `
with first as (
  insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
  select $1, $2, $3, $4, $5, 'unavailable'
  where not exists (
    select from attempts a
    where lower(a.uid collate "C") = lower($5::text collate "C") and a.cpo_id = $2 and a.outcome = 'unavailable')
  returning id
)
select id from first`;

/**
 * Provides the code for this one request, unless `once` and a pairing by it lasts. It gets no neighbour keys: codes within one
 * edit of it may be issued.
 */
const PROVIDE = `
with setting as (
  select set_config('scsp.stores_neighbours', 'on', true)
)
insert into pairing_codes (id, hash, length, cpo_id, expires_at)
select $1, ($2::bytea[])[1], $3, $4, now() + interval '1 minute' from setting
where not $5 or not exists (
  select from pairings p join pairing_codes c on c.id = p.code_id
  where c.hash = any ($2) and p.cpo_id = $4 and p.ended_at is null)`;

/** The app that would be told of a refused code does not exist. */
const REMOVE_LEFT_OVER = `
with code as (
  delete from pairing_codes where id = $1 and status = 'active' returning id
), event as (
  delete from events where code_id = $1 and type = 'pairing.refused' returning id
)
select (select count(*) from code), (select count(*) from event)`;

/**
 * Pairs by a test code, in one transaction: provides the code, pairs by the statement that pairs everywhere, so that limits,
 * attempts and Idempotency-Keys are the same, and removes the code if it was not used. The lock on the counter of the CPO keeps
 * other requests of the CPO out until the commit.
 * @returns undefined for the request that 000503 answers with 503
 */
export function pairTestCode(
  ctx: Pick<Context, 'db' | 'config' | 'random'>,
  row: PairRow,
  code: string,
): Promise<PairResult | undefined> {
  const work = async (tx: EntityManager) => {
    await rows(tx, LOCK_COUNTER, [row.cpo_id]);
    if (code === '000503' && (await isFirst(tx, row))) return undefined;
    const codeId = ctx.random.uuid();
    await rows(tx, PROVIDE, [codeId, row.code_hashes, row.code_length, row.cpo_id, code.startsWith('1')]);
    const [result] = await rows<PairResult>(tx, PAIR.text, pairParameters(ctx, [row], true));
    await rows(tx, REMOVE_LEFT_OVER, [codeId]);
    if (result === undefined) throw new TypeError('scsp_pair_v4 returned no row');
    return result;
  };
  return transaction(ctx.db, work, 'READ COMMITTED');
}

async function isFirst(tx: EntityManager, row: PairRow): Promise<boolean> {
  const values = [row.attempt_id, row.cpo_id, row.request_id, row.payload_protocol, row.uid];
  return (await rows(tx, FIRST_FOR_UID, values)).length > 0;
}
