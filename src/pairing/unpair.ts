import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import type { Database } from '../db/pool';
import { rows, transaction } from '../db/query';
import { enqueue, type Notification } from '../outbox/outbox';
import { Problem } from '../problems';
import { stationKey } from '../stations/station';

const UNPAIR = `
select pairing_id as "pairingId", cpo_id as "cpoId", uid, payload_protocol as "payloadProtocol"
from scsp_unpair_v2($1, $2, $3, $4, $5)`;

type PairingFilter = { readonly cpoId?: string; readonly userId?: string | undefined };

/** Ends the pairing of a uid (compared case-insensitively) if it matches the filter, and returns it. */
export async function endPairing(
  ctx: Pick<Context, 'random'>,
  db: Pick<Database, 'query'>,
  uid: string,
  endedBy: 'cpo' | 'app' | 'operator',
  { cpoId, userId }: PairingFilter = {},
): Promise<Notification[]> {
  return rows(db, UNPAIR, [stationKey(uid), endedBy, ctx.random.uuid(), cpoId ?? null, userId ?? null]);
}

/**
 * Unpairs one of a CPO's own stations; the uid can be paired again afterwards (contract, section 6).
 * @throws Problem `unknown-station`, also for a station that is unpaired already or belongs to another CPO
 */
export async function unpairByCpo(ctx: Context, cpoId: string, uid: string): Promise<void> {
  const [ended] = await endPairing(ctx, ctx.db, uid, 'cpo', { cpoId });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.metrics.stationUnpaired('cpo', ended.pairingId, cpoId);
}

/**
 * Unpairs a station for its customer and enqueues the CPO's notification in the same transaction.
 * @param userId ends the pairing only if it belongs to this user; undefined matches any user
 * @throws Problem `unknown-station`, also if the station is paired with another user
 */
export async function unpairForCustomer(ctx: Context, uid: string, origin: Origin, userId?: string): Promise<void> {
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await endPairing(ctx, tx, uid, 'app', { userId });
    await enqueue(tx, found, origin);
    return found;
  });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.metrics.stationUnpaired('app', ended.pairingId, ended.cpoId);
}
