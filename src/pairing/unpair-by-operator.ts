import type { Context } from '../context';
import { type Audited, audited, trailOf } from '../db/audit';
import { rows, transaction } from '../db/database';
import { enqueue, type Notification } from '../outbox/outbox';
import { stationKey } from '../stations/station';

const BY_OPERATOR = `
with changed as (
  update pairings set ended_at = now(), ended_by = 'operator'
  where station_uid = $3 and ended_at is null
  returning id, cpo_id
), event as (
  insert into events (id, type, pairing_id, cpo_id) select $4, 'station.unpaired', id, cpo_id from changed
), ${audited('station.unpair', `jsonb_build_object('cpo_id', cpo_id)`)}
select c.id as "pairingId", c.cpo_id as "cpoId", s.uid, s.payload_protocol as "payloadProtocol"
from changed c join stations s on s.pairing_id = c.id`;

/**
 * Unpairs a station at once, for an operator, and has the CPO notified: both are committed together.
 * @throws RangeError when no station is paired under the uid, in any spelling
 */
export async function unpairByOperator(ctx: Audited & Pick<Context, 'db'>, uid: string): Promise<Notification> {
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await rows<Notification>(tx, BY_OPERATOR, [...trailOf(ctx), stationKey(uid), ctx.chance.uuid()]);
    await enqueue(tx, found);
    return found;
  });
  if (ended === undefined) throw new RangeError(`no station with the uid ${uid} is paired`);
  return ended;
}
