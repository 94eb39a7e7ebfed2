import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { Problem } from '../problems';
import { type Station, stationKey } from './station';

/** Holds a station and its pairing. */
export type PairedStation = {
  readonly pairingId: string;
  readonly cpoId: string;
  readonly userId: string;
  readonly chargingLocationId: string;
  readonly payloadProtocol: string;
  readonly pairedAt: Date;
  readonly station: Station;
};

const SELECT = `
select p.id as "pairingId", p.cpo_id as "cpoId", p.user_id as "userId",
  p.charging_location_id as "chargingLocationId", p.paired_at as "pairedAt",
  s.payload_protocol as "payloadProtocol",
  json_build_object('uid', s.uid, 'evses', (
    select json_agg(json_build_object(
      'evseId', e.evse_id,
      'capabilities', e.capabilities,
      'connectors', (
        select json_agg(json_build_object(
          'id', c.connector_id, 'powerType', c.power_type,
          'maxVoltage', c.max_voltage, 'maxAmperage', c.max_amperage,
          'standard', c.standard, 'format', c.format, 'maxElectricPower', c.max_electric_power
        ) order by c.position)
        from connectors c where c.pairing_id = e.pairing_id and c.evse_position = e.position)
    ) order by e.position)
    from evses e where e.pairing_id = p.id
  )) as station
from pairings p join stations s on s.pairing_id = p.id`;

/** Returns the station paired with a code, whether or not the pairing has ended. */
export async function stationOfCode(db: Database, codeId: string): Promise<PairedStation | undefined> {
  const [found] = await rows<PairedStation>(db, `${SELECT} where p.code_id = $1`, [codeId]);
  return found && { ...found, station: withoutNulls(found.station) };
}

/** Returns the stations of pairings, whether or not these have ended. Those of forgotten users may be missing. */
export async function stationsOfPairings(db: Database, pairingIds: readonly string[]): Promise<PairedStation[]> {
  const found = await rows<PairedStation>(db, `${SELECT} where p.id = any ($1) order by p.id`, [pairingIds]);
  return found.map((paired) => ({ ...paired, station: withoutNulls(paired.station) }));
}

/**
 * Returns the station of a pairing, whether or not the pairing has ended.
 * @throws Problem `unknown-station` if the user has been forgotten
 */
export async function stationOfPairing(db: Database, pairingId: string): Promise<PairedStation> {
  const [found] = await rows<PairedStation>(db, `${SELECT} where p.id = $1 and p.user_id is not null`, [pairingId]);
  if (found === undefined) throw new Problem('unknown-station');
  return { ...found, station: withoutNulls(found.station) };
}

/**
 * Returns the station paired under a uid (compared case-insensitively).
 * @throws Problem `unknown-station`
 */
export async function stationOfUid(db: Database, uid: string): Promise<PairedStation> {
  const [found] = await rows<PairedStation>(
    db,
    `${SELECT} where p.station_uid = $1 and p.ended_at is null and p.user_id is not null`,
    [stationKey(uid)],
  );
  if (found === undefined) throw new Problem('unknown-station');
  return { ...found, station: withoutNulls(found.station) };
}

/** Lists a user's paired stations, newest first, with pairing ids below `before`. Ids are UUIDv7 and sort by time. */
export async function listStations(
  db: Database,
  userId: string,
  before: string,
  limit: number,
): Promise<PairedStation[]> {
  const found = await rows<PairedStation>(
    db,
    `${SELECT} where p.user_id = $1 and p.ended_at is null and p.id < $2 order by p.id desc limit $3`,
    [userId, before, limit],
  );
  return found.map((paired) => ({ ...paired, station: withoutNulls(paired.station) }));
}

/** Holds what a CPO sees of its own station. */
export type OwnStation = {
  readonly pairingId: string;
  readonly uid: string;
  readonly payloadProtocol: string;
  readonly pairedAt: Date;
};

const ownStations = (condition: string) => `
select p.id as "pairingId", s.uid, s.payload_protocol as "payloadProtocol", p.paired_at as "pairedAt"
from pairings p
-- A plain join may read all stations that are older than the first one of the page.
cross join lateral (select uid, payload_protocol from stations where pairing_id = p.id limit 1) s
where p.cpo_id = $1 and p.id > $2 and p.ended_at is null and ${condition}
order by p.id limit $3`;

/** Outside a sandbox deployment, `user_id is not null` is always true; it lets the planner use `pairings_active_cpo_idx`. */
export const OWN_STATIONS = ownStations('p.user_id is not null');
/** With those of the CPO's test customer, by `pairings_test_cpo_idx`. */
const OWN_AND_TEST_STATIONS = `
select * from (
  (${OWN_STATIONS}) union all (${ownStations('p.user_id is null and p.station_uid is not null')})
) s order by "pairingId" limit $3`;

/**
 * Lists a CPO's paired stations, oldest first, with pairing ids above `after`.
 * @param sandbox whether to include those of the CPO's test customer
 */
export function listOwnStations(
  db: Database,
  sandbox: boolean,
  cpoId: string,
  after: string,
  limit: number,
): Promise<OwnStation[]> {
  return rows(db, sandbox ? OWN_AND_TEST_STATIONS : OWN_STATIONS, [cpoId, after, limit]);
}

/** Builds a query that reads the newest pairings by the primary key (UUIDv7) or `pairings_active_cpo_idx`. */
const latest = (condition: string) => `
select s.uid, p.cpo_id as "cpoId", p.user_id as "userId", p.charging_location_id as "chargingLocationId",
  s.payload_protocol as "payloadProtocol", p.paired_at as "pairedAt"
from (select * from pairings where ended_at is null and user_id is not null ${condition} order by id desc limit $1) p
join stations s on s.pairing_id = p.id order by p.paired_at desc, p.id desc`;
const LATEST = latest('');
const LATEST_OF_CPO = latest('and cpo_id = $2');

/** Lists the paired stations of one CPO or of all, newest first, without those of test customers. */
export function listPairings(
  db: Database,
  limit: number,
  cpoId?: string,
): Promise<(Omit<PairedStation, 'pairingId' | 'station'> & { readonly uid: string })[]> {
  return cpoId === undefined ? rows(db, LATEST, [limit]) : rows(db, LATEST_OF_CPO, [limit, cpoId]);
}

/** Removes members that are null in SQL: the core and the payload formats omit absent members. */
function withoutNulls(station: Station): Station {
  return JSON.parse(JSON.stringify(station, (_key, value) => (value === null ? undefined : value)));
}
