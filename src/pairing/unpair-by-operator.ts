import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import { rows, transaction } from '../db/query';
import { enqueue, type Notification } from '../outbox/outbox';
import { OperatorError } from '../problems';
import { endPairing } from './unpair';

const AUDIT = `
with changed as (
  select $3::uuid as id
), ${audited('station.unpair', `jsonb_build_object('cpo_id', $4::text)`)}
select id from changed`;

/**
 * Unpairs a station for an operator and enqueues the CPO's notification in the same transaction.
 * @throws OperatorError if no station is paired under the uid (compared case-insensitively)
 */
export async function unpairByOperator(ctx: Audited & Pick<Context, 'db'>, uid: string): Promise<Notification> {
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await endPairing(ctx, tx, uid, { by: 'operator' });
    for (const { pairingId, cpoId } of found) await rows(tx, AUDIT, [...auditParameters(ctx), pairingId, cpoId]);
    await enqueue(tx, found);
    return found;
  });
  if (ended === undefined) throw new OperatorError(`no station with the uid ${uid} is paired`);
  return ended;
}
