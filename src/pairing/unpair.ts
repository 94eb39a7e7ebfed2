import type { Context } from '../context';
import { rows, transaction } from '../db/database';
import { enqueue, type Notification } from '../outbox/outbox';
import { Problem } from '../problems';
import { stationKey } from '../stations/station';
import type { Origin } from '../trace-context';

type Ended = { pairingId: string; cpoId: string };

const BY_CPO = `
with ended as (
  update pairings set ended_at = now(), ended_by = 'cpo'
  where station_uid = $1 and ended_at is null and cpo_id = $3
  returning id, cpo_id
), event as (
  insert into events (id, type, pairing_id, cpo_id) select $2, 'station.unpaired', id, cpo_id from ended
)
select id as "pairingId", cpo_id as "cpoId" from ended`;

/**
 * A CPO unpairs a station of its own; afterwards the uid can be paired again (contract, section 6).
 * @throws Problem `unknown-station`, the same for unknown, unpaired and foreign ones
 */
export async function unpairByCpo(ctx: Context, cpoId: string, uid: string): Promise<void> {
  const [ended] = await rows<Ended>(ctx.db, BY_CPO, [stationKey(uid), ctx.chance.uuid(), cpoId]);
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.events.stationUnpaired('cpo', ended.pairingId, cpoId);
}

const BY_APP = `
with ended as (
  update pairings set ended_at = now(), ended_by = 'app'
  where station_uid = $1 and ended_at is null and ($3::text is null or user_id = $3)
  returning id, cpo_id
), event as (
  insert into events (id, type, pairing_id, cpo_id) select $2, 'station.unpaired', id, cpo_id from ended
)
select e.id as "pairingId", e.cpo_id as "cpoId", s.uid, s.payload_protocol as "payloadProtocol"
from ended e join stations s on s.pairing_id = e.id`;

/**
 * Unpairs a station for its customer at once, and has the CPO notified: both are committed together.
 * @param userId whose pairing is meant; anybody's when undefined
 * @throws Problem `unknown-station`, also when the station is paired with another user
 */
export async function unpairForCustomer(ctx: Context, uid: string, origin: Origin, userId?: string): Promise<void> {
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await rows<Notification>(tx, BY_APP, [stationKey(uid), ctx.chance.uuid(), userId ?? null]);
    await enqueue(tx, found, origin);
    return found;
  });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.events.stationUnpaired('app', ended.pairingId, ended.cpoId);
}
