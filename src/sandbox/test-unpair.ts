import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { notifiableCpo } from '../cpos/cpos';
import { transaction } from '../db/query';
import { enqueue } from '../outbox/outbox';
import { endPairing } from '../pairing/unpair';
import { Problem } from '../problems';
import { noEndpoint } from './endpoint';
import { countForCpo } from './limits';

export type TestUnpair = {
  readonly cpoId: string;
  readonly uidScope: string | undefined;
  readonly uid: string;
  readonly origin: Origin;
};

/**
 * Unpairs a station of a CPO as its customer would, and notifies the CPO through the outbox (contract, section 10).
 * @throws Problem `cpo-unavailable`, `too-many-requests`, `unknown-station`
 */
export async function unpairForTest(ctx: Context, { cpoId, uidScope, uid, origin }: TestUnpair): Promise<void> {
  await notifiableCpo(ctx, cpoId).catch(noEndpoint);
  await countForCpo(ctx.db, cpoId, 'unpair_at');
  const [ended] = await transaction(ctx.db, async (tx) => {
    const found = await endPairing(ctx, tx, uid, { by: 'app', origin }, { cpoId, scope: uidScope });
    await enqueue(tx, found, origin);
    return found;
  });
  if (ended === undefined) throw new Problem('unknown-station');
  ctx.metrics.stationUnpaired('app', ended.pairingId, cpoId, origin);
}
