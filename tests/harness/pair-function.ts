import { createHash, randomUUID } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';

/** A request as the pairing function reads it: to a code by its text, for a uid of its own unless told which. */
export type DirectRequest = { cpoId: string; code: string; uid?: string; pairingId?: string };

const sha256 = (text: string) => `\\x${createHash('sha256').update(text).digest('hex')}`;

/** The hash under which `issueDirectly` stores a code. */
export const hashOf = (code: string) => sha256(`code ${code}`);

/** Calls the function with plain SQL; its results in the order of the requests. Replicas of 0.2.0 call version 1. */
export async function pairDirectly(
  sql: Pick<Pool | ClientBase, 'query'>,
  requests: readonly DirectRequest[],
  { limits = '(5,10,20,50,0.5)', wait = true, version = 4 } = {},
): Promise<{ outcome: string; retry_after: number | null; allowance?: string }[]> {
  const rows = requests.map(({ cpoId, code, uid = randomUUID(), pairingId = newId() }, index) => ({
    n: index + 1,
    cpo_id: cpoId,
    pairing_id: pairingId,
    event_id: newId(),
    attempt_id: newId(),
    request_id: 'directly',
    code_length: code.length,
    code_hashes: [hashOf(code)],
    payload_protocol: 'ocpp2.0.1',
    uid,
    station_uid: uid.toLowerCase(),
    uid_hashes: [sha256(`${cpoId} ${uid.toLowerCase()}`)],
  }));
  const answer = await sql.query(`select * from scsp_pair_v${version}($1, '[]', '[]', $2, $3) order by n`, [
    JSON.stringify(rows),
    limits,
    wait,
  ]);
  return answer.rows;
}

/** Stores active codes, each for a user of its own, without issuing them by the rules. */
export async function issueDirectly(sql: Pick<Pool, 'query'>, codes: readonly string[]): Promise<void> {
  await sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
     select gen_random_uuid(), decode(substr(hash, 3), 'hex'), length, gen_random_uuid()::text, 'home', now() + interval '1 hour'
     from unnest($1::text[], $2::int[]) c (hash, length)`,
    [codes.map(hashOf), codes.map((code) => code.length)],
  );
}

let last = 0;
/** A UUIDv7: the limits find a window's pairings by it. */
function newId(): string {
  last = Math.max(last, Date.now());
  return randomUUID().replace(
    /^.{8}-.{4}-4/,
    `${last
      .toString(16)
      .padStart(12, '0')
      .replace(/^(.{8})/, '$1-')}-7`,
  );
}
