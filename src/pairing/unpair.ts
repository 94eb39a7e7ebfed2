import type { EntityManager } from 'typeorm';
import type { Context } from '../context';
import { type Origin, storedTrace } from '../contract/trace-context';
import type { Database } from '../db/pool';
import { rows, transaction } from '../db/query';
import { enqueue, type Notification } from '../outbox/outbox';
import { Problem } from '../problems';
import { stationKey } from '../stations/station';

const UNPAIR = `
select pairing_id as "pairingId", cpo_id as "cpoId", uid, payload_protocol as "payloadProtocol"
from scsp_unpair_v3($1, $2, $3, $4, $5, $6)`;

type Ending = {
  readonly by: 'cpo' | 'app' | 'operator';
  /** Undefined for a command. */
  readonly origin?: Origin;
};

type PairingFilter = {
  readonly cpoId?: string;
  readonly userId?: string | undefined;
  /** The id of the CPO within which the uid is unique; undefined: it is unique among all. */
  readonly scope?: string | undefined;
};

/** Ends the pairing of a uid (compared case-insensitively) if it matches the filter, and returns it. */
export async function endPairing(
  ctx: Pick<Context, 'random'>,
  db: Pick<Database, 'query'>,
  uid: string,
  { by, origin }: Ending,
  { cpoId, userId, scope }: PairingFilter = {},
): Promise<Notification[]> {
  const values = [stationKey(uid, scope), by, ctx.random.uuid(), cpoId ?? null, userId ?? null];
  return rows(db, UNPAIR, [...values, storedTrace(origin)]);
}

/**
 * Unpairs one of a CPO's own stations, and returns the pairing; the uid can be paired again afterwards (contract, section 6).
 * @throws Problem `unknown-station`, also for a station that is unpaired already or belongs to another CPO
 */
export async function unpairByCpo(
  ctx: Context,
  cpoId: string,
  uid: string,
  origin: Origin,
  scope?: string,
): Promise<Notification> {
  const [ended] = await endPairing(ctx, ctx.db, uid, { by: 'cpo', origin }, { cpoId, scope });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.metrics.stationUnpaired('cpo', ended.pairingId, cpoId, origin);
  return ended;
}

/** Rolls the end of a pairing back if it was with the test customer of a CPO, of which apps know nothing. */
async function requireCustomer(tx: EntityManager, ended: readonly Notification[]): Promise<void> {
  const ids = ended.map(({ pairingId }) => pairingId);
  const [test] = await rows(tx, 'select id from pairings where id = any ($1) and user_id is null', [ids]);
  if (test !== undefined) throw new Problem('unknown-station');
}

/**
 * Unpairs a station for its customer, enqueues the CPO's notification in the same transaction, and returns it.
 * @param userId ends the pairing only if it belongs to this user; undefined matches any user
 * @throws Problem `unknown-station`, also if the station is paired with another user
 */
export async function unpairForCustomer(
  ctx: Context,
  uid: string,
  origin: Origin,
  userId?: string,
): Promise<Notification> {
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await endPairing(ctx, tx, uid, { by: 'app', origin }, { userId });
    if (ctx.config.sandbox) await requireCustomer(tx, found);
    await enqueue(tx, found, origin);
    return found;
  });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.metrics.stationUnpaired('app', ended.pairingId, ended.cpoId, origin);
  return ended;
}
