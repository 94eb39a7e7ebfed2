import type { Attempt } from '../attempts/attempts';
import { subjectHashes } from '../crypto/keys';
import { asBytea, rows } from '../db/query';
import { stationKey, stationKeysSql } from '../stations/station';
import type { CaseAttempt, CaseCode, CaseContext } from './found';
import { idsBetween } from './id-range';

/**
 * An attempt is stored without the code that was sent. For 25 hours `failed_attempts` has the keyed hashes of the uid and of an
 * incorrect code, the first of a minute, which tells whether the code had been issued, and to whom. The time of an attempt is that
 * of its transaction, and a failed attempt is counted within it.
 */
const COUNTED_WITHIN_MS = 10_000;

/** The same value may have been issued again: an attempt is about the latest code that was issued before it. */
const FAILED = `
select f.cpo_id as "cpoId", f.failed_at as "failedAt", encode(f.uid_hash, 'hex') as "uidHash"
from pairing_codes c join failed_attempts f on f.code_hash = c.hash and f.failed_at >= c.created_at
where c.id = any ($1) and not exists (
  select from pairing_codes n where n.hash = c.hash and n.created_at > c.created_at and n.created_at <= f.failed_at)
order by f.failed_at desc limit 100`;

const UIDS = `
select distinct a.cpo_id as "cpoId", a.uid
from jsonb_to_recordset($1::jsonb) f (cpo_id uuid, from_id uuid, until_id uuid) cross join lateral (
  select cpo_id, uid from attempts
  where cpo_id = f.cpo_id and id between f.from_id and f.until_id and outcome = 'incorrect-code' and uid is not null
  limit 1000
) a`;

/** Returns the uids for which CPOs sent codes when these were not valid, or not valid for them. */
export async function uidsThatTried({ db, keys }: CaseContext, codes: readonly CaseCode[]): Promise<string[]> {
  const failed = await rows<{ cpoId: string; failedAt: Date; uidHash: string }>(db, FAILED, [
    codes.map(({ id }) => id),
  ]);
  const ranges = failed.map(({ cpoId, failedAt }) => ({ cpo_id: cpoId, ...idsBetween(failedAt, failedAt) }));
  const hashes = new Set(failed.map(({ uidHash }) => uidHash));
  const found = await rows<{ cpoId: string; uid: string }>(db, UIDS, [JSON.stringify(ranges)]);
  return found
    .filter((one) => uidHashes(keys, one).some((hash) => hashes.has(hash.toString('hex'))))
    .map(({ uid }) => uid);
}

const CODES = `
select distinct on (t.n) t.n, c.id as "codeId"
from jsonb_to_recordset($1::jsonb) t (n int, hash bytea, at timestamptz)
join failed_attempts f on f.uid_hash = t.hash
  and f.failed_at between t.at - interval '1 millisecond' and t.at + make_interval(secs => ${COUNTED_WITHIN_MS / 1_000})
cross join lateral (
  select id from pairing_codes c where c.hash = f.code_hash and c.created_at <= f.failed_at order by c.created_at desc limit 1
) c
order by t.n, f.failed_at`;

const PAIRED = `
select t.n, p.code_id as "codeId"
from jsonb_to_recordset($1::jsonb) t (n int, cpo_id uuid, uid text, at timestamptz) cross join lateral (
  select code_id from pairings
  where station_uid = any (${stationKeysSql('t.cpo_id', 't.uid')}) and (ended_at is null or ended_at is not null)
    and cpo_id = t.cpo_id and code_id is not null
    and paired_at between t.at - interval '1 millisecond' and t.at + make_interval(secs => ${COUNTED_WITHIN_MS / 1_000})
  order by paired_at limit 1
) p`;

/** Adds the ids of the codes that were sent, as far as they can be told. */
export async function codesTried(ctx: CaseContext, attempts: readonly Attempt[]): Promise<CaseAttempt[]> {
  type Tried = { n: number; codeId: string };
  const failed = attempts.flatMap((one, n) =>
    one.reason === null || one.reason === 'unknown' || one.uid === null
      ? []
      : uidHashes(ctx.keys, { ...one, uid: one.uid }).map((hash) => ({ n, hash: asBytea(hash), at: one.attemptedAt })),
  );
  const paired = attempts.flatMap(({ outcome, uid, cpoId, attemptedAt }, n) =>
    outcome === 'paired' && uid !== null ? [{ n, cpo_id: cpoId, uid, at: attemptedAt }] : [],
  );
  const found = [
    ...(await rows<Tried>(ctx.db, CODES, [JSON.stringify(failed)])),
    ...(await rows<Tried>(ctx.db, PAIRED, [JSON.stringify(paired)])),
  ];
  const codes = new Map(found.map(({ n, codeId }) => [n, codeId]));
  return attempts.map((attempt, n) => ({ ...attempt, codeId: codes.get(n) }));
}

/** The hashes under which incorrect codes are counted, also for a CPO within which its uids are unique. */
const uidHashes = (keys: CaseContext['keys'], { cpoId, uid }: { cpoId: string; uid: string }) =>
  [stationKey(uid), stationKey(uid, cpoId)].flatMap((key) => subjectHashes(keys, 'uid', `${cpoId} ${key}`));
