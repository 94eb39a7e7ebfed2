import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { enqueueUnpaired, type Unpaired } from '../outbox/outbox';

/** Pauses before a notification that could not be stored is stored, in ms. The last one repeats. */
const STORE_PAUSES_MS = [1_000, 2_000, 5_000, 10_000];

/**
 * Enqueues an unpair notification for a station that only the CPO has paired. Dropped if it is paired here by then. If the database is
 * unavailable, it is enqueued once it answers again: as many may wait for that as redemptions were in flight.
 */
export async function compensate(
  ctx: Context,
  { cpoId, payloadProtocol, origin }: Omit<Unpaired, 'uid'> & { readonly origin: Origin },
  uid: string | undefined,
  delaySeconds = 0,
) {
  if (uid === undefined) return;
  const enqueue = () => enqueueUnpaired(ctx.db, { cpoId, payloadProtocol, uid }, origin, delaySeconds);
  await enqueue().catch((error: unknown) => {
    ctx.metrics.notificationNotStored(cpoId, origin, error instanceof Error ? error.message : String(error));
    void enqueueLater(ctx, enqueue).then((stored) => stored && ctx.metrics.notificationStored(cpoId, origin));
  });
}

/** Tries again until a notification is stored or the service stops. Returns whether it is stored. */
async function enqueueLater(
  { stopping }: Pick<Context, 'stopping'>,
  enqueue: () => Promise<unknown>,
): Promise<boolean> {
  for (let tries = 0; !stopping.aborted; tries++) {
    const pause = STORE_PAUSES_MS[Math.min(tries, STORE_PAUSES_MS.length - 1)];
    await sleep(pause, undefined, { signal: stopping, ref: false }).catch(() => undefined);
    const stored = await enqueue().then(
      () => true,
      () => false,
    );
    if (stored) return true;
  }
  return false;
}
