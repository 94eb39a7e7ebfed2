import { validate as isUuid } from 'uuid';
import { COLUMNS } from '../attempts/attempts';
import { subjectHashes } from '../crypto/keys';
import type { Database } from '../db/pool';
import { rows, rowsInIndexOrder } from '../db/query';
import { OperatorError } from '../problems';
import { isUid, stationKey } from '../stations/station';
import {
  atMost,
  type Case,
  type CaseAttempt,
  type CaseCode,
  type CaseContext,
  type CaseKey,
  type CasePairing,
  type CaseRedemption,
  MOST,
} from './found';
import { codesTried, uidsThatTried } from './tried-codes';

const CODE = `c.id, c.user_id as "userId", c.charging_location_id as "chargingLocationId", c.cpo_id as "cpoId",
  case when c.status = 'active' and c.expires_at <= now() then 'expired' else c.status end as status,
  c.created_at as "createdAt", c.expires_at as "expiresAt", c.ended_at as "endedAt"`;

/** One index for each status; codes that paired are found by their pairings. */
const CODES_OF_USER = `
select ${CODE} from (
  (select * from pairing_codes where user_id = $1 and status = 'active')
  union all
  (select * from pairing_codes where user_id = $1 and status in ('expired', 'cancelled') order by id desc limit ${MOST + 1})
) c order by c.id desc limit ${MOST + 1}`;
const CODES = `select ${CODE} from pairing_codes c where c.id = any ($1) order by c.id desc limit ${MOST + 1}`;

const pairings = (condition: string) => `
select p.id, p.code_id as "codeId", p.cpo_id as "cpoId", s.uid, p.user_id as "userId", p.paired_at as "pairedAt",
  p.ended_at as "endedAt", p.ended_by as "endedBy"
from pairings p left join stations s on s.pairing_id = p.id and p.station_uid is not null
where ${condition} order by p.id desc limit ${MOST + 1}`;
/** The condition on the end lets the planner use the indexes of active and of ended pairings. */
const EITHER = '(p.ended_at is null or p.ended_at is not null)';
const PAIRINGS_OF_USER = pairings(`p.user_id = $1 and ${EITHER}`);
/** In a sandbox deployment a uid may be unique within its CPO only. */
const PAIRINGS_OF_UID = pairings(`p.station_uid = any (array(
  select $1::text union all select id || E'\\n' || $1::text from cpos where sandbox)) and ${EITHER}`);
const PAIRINGS_OF_CODES = pairings('p.code_id = any ($1)');

/** The newest of each uid and CPO, in the order of their index: a station may have a million attempts. */
export const ATTEMPTS_OF_UIDS = `
select ${COLUMNS} from unnest($1::text[]) u (key) cross join cpos c cross join lateral (
  select * from attempts where cpo_id = c.id and lower(uid collate "C") = u.key order by id desc limit ${MOST + 1}
) a
where not exists (select from erasures e where e.station_uid = u.key)
order by a.id desc limit ${MOST + 1}`;
const ATTEMPTS_OF_REQUEST = `
select ${COLUMNS} from cpos c cross join lateral (
  select * from attempts where cpo_id = c.id and request_id = $1 order by id desc limit ${MOST + 1}
) a order by a.id desc limit ${MOST + 1}`;

const REDEMPTIONS = `
select began_at as "beganAt", outcome from redemption_attempts
where user_hash = any ($1) order by began_at desc limit ${MOST + 1}`;

const known = <T>(values: readonly (T | null | undefined)[]) => [
  ...new Set(values.filter((value): value is T => value !== null && value !== undefined)),
];

/**
 * Finds the codes, pairings and attempts that a user, a uid, a request or a code is about, at most 100 of each kind.
 * @throws OperatorError for a malformed uid or id of a code
 */
export async function findCase(ctx: CaseContext, key: CaseKey): Promise<Case> {
  const { db, keys } = ctx;
  if (key.codeId !== undefined && !isUuid(key.codeId)) throw new OperatorError('--code-id must be the id of a code');
  if (key.uid !== undefined && !isUid(key.uid)) throw new OperatorError('--uid must be the uid of a station');
  const leftOut = new Set<string>();
  let codes: CaseCode[] = [];
  let paired: CasePairing[] = [];
  let attempts: CaseAttempt[] = [];
  let redemptions: CaseRedemption[] = [];
  if (key.user !== undefined) {
    codes = await rows(db, CODES_OF_USER, [key.user]);
    paired = await rows(db, PAIRINGS_OF_USER, [key.user]);
    redemptions = await rows(db, REDEMPTIONS, [subjectHashes(keys, 'user', key.user)]);
  } else if (key.codeId !== undefined) {
    codes = await rows(db, CODES, [[key.codeId]]);
    paired = await rows(db, PAIRINGS_OF_CODES, [[key.codeId]]);
  } else if (key.uid !== undefined) paired = await rows(db, PAIRINGS_OF_UID, [stationKey(key.uid)]);
  paired = atMost(paired, 'pairings', leftOut);
  codes = await withCodes(db, codes, known(paired.map(({ codeId }) => codeId)));

  if (key.request !== undefined) attempts = await rows(db, ATTEMPTS_OF_REQUEST, [key.request]);
  else {
    const uids = key.uid !== undefined ? [key.uid] : known(paired.map(({ uid }) => uid));
    if (key.uid === undefined) uids.push(...(await uidsThatTried(ctx, codes)));
    attempts = await rowsInIndexOrder(db, ATTEMPTS_OF_UIDS, [known(uids.map((uid) => stationKey(uid)))]);
  }
  attempts = await codesTried(ctx, atMost(attempts, 'attempts', leftOut));
  if (key.user === undefined) {
    codes = await withCodes(db, codes, known(attempts.map(({ codeId }) => codeId)));
    if (key.request !== undefined) {
      const made = await rows<CasePairing>(db, PAIRINGS_OF_CODES, [codes.map(({ id }) => id)]);
      const requested = (at: Date) => attempts.some((one) => one.outcome === 'paired' && one.attemptedAt <= at);
      paired = made.filter(({ pairedAt }) => requested(pairedAt));
    }
  }
  return {
    key,
    codes: atMost(codes, 'codes', leftOut),
    pairings: paired,
    attempts,
    redemptions: atMost(redemptions, 'redemption attempts', leftOut),
    leftOut,
  };
}

/** Adds the codes with these ids. */
async function withCodes(db: Database, codes: readonly CaseCode[], ids: readonly string[]): Promise<CaseCode[]> {
  const missing = ids.filter((id) => codes.every((code) => code.id !== id));
  const more = missing.length === 0 ? [] : await rows<CaseCode>(db, CODES, [missing]);
  return [...codes, ...more].sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
}
