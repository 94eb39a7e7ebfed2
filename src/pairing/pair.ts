import { setTimeout as sleep } from 'node:timers/promises';
import { hashCode, normalizeCode } from '../codes/code';
import { CODES_CHANNEL } from '../codes/codes';
import type { Context } from '../context';
import { rows } from '../db/database';
import { Problem } from '../problems';
import { type Station, stationKey } from '../stations/station';
import { evseRows, STORE } from './store';

export type PairRequest = {
  readonly cpoId: string;
  readonly payloadProtocol: string;
  /** As the customer typed it. */
  readonly code: string;
  readonly station: Station;
};

/** How long a request waits for another that holds its code. */
const PATIENCE_MS = 2_000;

/**
 * A set of pairing requests, each answered with its outcome; steps 6 to 8 of the contract's section 3.
 *
 * `live` locks the codes that may be used and skips those that another statement is using or cancelling right now.
 * The insert into pairings decides: its unique keys allow a code once and a uid once, and what loses is not inserted.
 * A request that lost a race is told `again`: this statement's snapshot cannot see who won, the next one's can.
 * The order of rows is the same everywhere, so that two sets never wait for each other in a circle.
 */
const PAIR = `
with request as materialized (
  select * from jsonb_to_recordset($1::jsonb) as r (
    n int, pairing_id uuid, event_id uuid, cpo_id uuid, code_length smallint, code_hash bytea,
    payload_protocol text, uid text, station_uid text, evses jsonb)
), live as (
  select r.n, c.id, c.user_id, c.charging_location_id
  from pairing_codes c join request r on c.length = r.code_length and c.hash = r.code_hash
  where c.status = 'active' and c.expires_at > now() and (c.cpo_id is null or c.cpo_id = r.cpo_id)
  order by c.id for update of c skip locked
), paired as (
  insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id)
  select r.pairing_id, l.id, r.cpo_id, r.station_uid, l.user_id, l.charging_location_id
  from live l join request r using (n)
  order by r.station_uid, r.n
  on conflict do nothing
  returning id, code_id, cpo_id
), used as (
  update pairing_codes c set status = 'used', ended_at = now() from paired p where c.id = p.code_id
  returning pg_notify('${CODES_CHANNEL}', c.id::text)
), ${STORE}
select r.n, p.code_id as "codeId", case
  when p.id is not null then 'paired'
  when l.id is not null then
    case when exists (select from pairings q where q.station_uid = r.station_uid and q.ended_at is null)
      then 'station-already-paired' else 'again' end
  when exists (
    select from pairing_codes c
    where c.length = r.code_length and c.hash = r.code_hash and c.status = 'active' and c.expires_at > now()
      and (c.cpo_id is null or c.cpo_id = r.cpo_id)) then 'again'
  when exists (
    select from pairings q join pairing_codes c on c.id = q.code_id
    where q.station_uid = r.station_uid and q.ended_at is null and q.cpo_id = r.cpo_id and c.hash = r.code_hash)
    then 'station-already-paired'
  else 'incorrect-code' end as outcome
from request r left join live l using (n) left join paired p on p.id = r.pairing_id`;

type Outcome = {
  n: number;
  codeId: string | null;
  outcome: 'paired' | 'again' | 'station-already-paired' | 'incorrect-code';
};

/**
 * Pairs a station with the customer who was shown the code: all of it is stored, or nothing.
 * @throws Problem `incorrect-code`, `station-already-paired` (the code is not used up), `unavailable`
 */
export async function pair(ctx: Context, request: PairRequest): Promise<void> {
  const code = normalizeCode(request.code);
  const row = {
    n: 0,
    pairing_id: ctx.chance.uuid(),
    event_id: ctx.chance.uuid(),
    cpo_id: request.cpoId,
    code_length: code.length,
    code_hash: `\\x${hashCode(ctx.keys.pairingCode, code).toString('hex')}`,
    payload_protocol: request.payloadProtocol,
    uid: request.station.uid,
    station_uid: stationKey(request.station.uid),
    evses: evseRows(request.station),
  };

  for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline; ) {
    const [answer] = await rows<Outcome>(ctx.db, PAIR, [JSON.stringify([row])]);
    if (answer?.outcome === 'paired') {
      return ctx.events.stationPaired({
        pairing_id: row.pairing_id,
        code_id: answer.codeId ?? '',
        cpo_id: request.cpoId,
        payload_protocol: request.payloadProtocol,
      });
    }
    if (answer !== undefined && answer.outcome !== 'again') {
      ctx.events.pairingRefused(answer.outcome, request.cpoId);
      throw new Problem(answer.outcome);
    }
    // No connection is held while another request has the code; jitter keeps a crowd from coming back at once.
    await sleep(1 + Math.random() * 20);
  }
  throw new Problem('unavailable');
}
