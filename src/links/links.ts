import type { Database } from '../db/pool';
import { rows, rowsInIndexOrder } from '../db/query';
import { Problem } from '../problems';
import { stationKey } from '../stations/station';

/** Links a station to a user from `pairedAt` (included) to `unpairedAt` (excluded; null while it lasts). */
export type Link = {
  readonly pairingId: string;
  readonly uid: string;
  readonly cpoId: string;
  readonly payloadProtocol: string;
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly pairedAt: Date;
  readonly unpairedAt: Date | null;
};

/** Asks whose station it was. */
export type LinkQuestion = {
  readonly uid: string;
  readonly cpoId: string;
  /** The instant, in whole milliseconds. Undefined: the link that has not ended, whatever a clock says. */
  readonly at?: string | undefined;
};

const COLUMNS = `p.id as "pairingId", s.uid, p.cpo_id as "cpoId", s.payload_protocol as "payloadProtocol",
  p.user_id as "userId", p.charging_location_id as "chargingLocationId", p.paired_at as "pairedAt", p.ended_at as "unpairedAt"`;

/** Each row has its station. The limit keeps the planner from reading the whole table instead. */
const STATION = '(select uid, payload_protocol from stations where pairing_id = p.id limit 1) s';

/**
 * Answers questions in their order. The pairings of a uid never overlap, so an instant belongs to the one that has not ended,
 * or to the one that ended next after it. Each of the two is one row of an index, whatever the other questions are. A
 * forgotten user's pairing has no uid.
 */
export const RESOLVE_LINKS = `
select ${COLUMNS}
from unnest($1::text[], $2::uuid[], $3::timestamptz[]) with ordinality q (station_uid, cpo_id, at, n)
left join lateral (
  (select * from pairings a
   where a.station_uid = q.station_uid and a.ended_at is null and (q.at is null or a.paired_at <= q.at) limit 1)
  union all
  (select * from pairings e
   where e.station_uid = q.station_uid and e.ended_at is not null and e.ended_at > q.at
   order by e.ended_at, e.paired_at limit 1)
  limit 1
) p on p.cpo_id = q.cpo_id and p.user_id is not null and (q.at is null or p.paired_at <= q.at)
left join lateral ${STATION} on true
order by q.n`;

/** Answers up to 500 questions in one statement, in their order; null for a station that was not linked then. */
export async function resolveLinks(db: Database, questions: readonly LinkQuestion[]): Promise<(Link | null)[]> {
  const found = await rows<Link | { pairingId: null }>(db, RESOLVE_LINKS, [
    questions.map(({ uid }) => stationKey(uid)),
    questions.map(({ cpoId }) => cpoId),
    questions.map(({ at }) => at ?? null),
  ]);
  return found.map((link) => (link.pairingId === null ? null : link));
}

/**
 * Returns the link of a station at an instant.
 * @throws Problem `not-linked`
 */
export async function linkAt(db: Database, question: LinkQuestion): Promise<Link> {
  const [link] = await resolveLinks(db, [question]);
  if (link === null || link === undefined) throw new Problem('not-linked');
  return link;
}

const currentLinks = (after: string) => `
select ${COLUMNS}
from (
  select * from pairings where ended_at is null and user_id is not null and ${after} order by cpo_id, id limit $3
) p cross join lateral ${STATION}
order by p.cpo_id, p.id`;
/** Exported for the test of their plans. */
export const CURRENT_LINKS = currentLinks('(cpo_id, id) > ($1::uuid, $2::uuid)');
export const CURRENT_LINKS_OF_CPO = currentLinks('cpo_id = $1 and id > $2');

export type LinkRange = {
  /** Only the links of this CPO; undefined: of all. */
  readonly cpoId: string | undefined;
  /** Where to continue, in the order of CPO and pairing. */
  readonly after: Pick<Link, 'cpoId' | 'pairingId'>;
};

/** Lists links that have not ended. */
export function listLinks(db: Database, { cpoId, after }: LinkRange, limit: number): Promise<Link[]> {
  const sql = cpoId === undefined ? CURRENT_LINKS : CURRENT_LINKS_OF_CPO;
  return rowsInIndexOrder(db, sql, [cpoId ?? after.cpoId, after.pairingId, limit]);
}
