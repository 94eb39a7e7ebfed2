import { randomUUID } from 'node:crypto';
import { inspect, isDeepStrictEqual } from 'node:util';
import { isReserved } from '../../src/sandbox/test-codes';
import type { Asked, callers } from '../faults/callers';
import { timed } from '../faults/fault';

/** How many customers pair at a time. */
export const CUSTOMERS = 4;

export type Paired = { readonly uid: string; readonly began: number; readonly redeemed: boolean; unpaired: boolean };

/**
 * Customers who pair, one station after the other, until `stop`: with a code of the service or of the CPO, by turns. Each
 * request that pairs is repeated under its Idempotency-Key, and every second pairing is ended.
 */
export function startLoad(as: ReturnType<typeof callers>, at: string, cpoId: string) {
  const paired: Paired[] = [];
  /** Requests that were not answered as they should be. */
  const failures: string[] = [];
  let requests = 0;
  let over = false;

  async function succeeds(request: () => Promise<Asked>, status: number): Promise<any> {
    requests++;
    const { seconds, result } = await timed(request);
    if (result.status === status) return result.body;
    throw new Error(`${result.status} instead of ${status} after ${seconds} s: ${JSON.stringify(result.body)}`);
  }
  /** Twice under one key, as a caller does that has lost the first response. */
  async function repeated(request: () => Promise<Asked>, status: number): Promise<any> {
    const first = await succeeds(request, status);
    const second = await succeeds(request, status);
    if (!isDeepStrictEqual(first, second))
      throw new Error(`${JSON.stringify(second)} replayed ${JSON.stringify(first)}`);
    return first;
  }

  /** A sandbox reserves codes for tests; 0.2.0 does not know that, and issues them. */
  async function issue(): Promise<any> {
    for (;;) {
      const code = await succeeds(() => as.issue(at), 201);
      if (!isReserved(code.code)) return code;
    }
  }

  async function pairOne(turn: number): Promise<Paired> {
    const key = randomUUID();
    const began = performance.now();
    if (turn % 2 === 0) {
      const { uid } = await repeated(() => as.redeem(at, cpoId, key), 201);
      return { uid, began, redeemed: true, unpaired: false };
    }
    const code = await issue();
    const uid = randomUUID();
    const followed = succeeds(() => as.follow(at, code.id, 10), 200);
    await Promise.all([followed, repeated(() => as.pair(at, code.code, uid, key), 200)]);
    const { status } = await succeeds(() => as.follow(at, code.id), 200);
    if (status !== 'used') throw new Error(`the code that paired is ${status}`);
    return { uid, began, redeemed: false, unpaired: false };
  }

  async function customer(first: number) {
    for (let turn = first; !over; turn++)
      try {
        const pairing = await pairOne(turn);
        paired.push(pairing);
        if (turn % 4 < 2) continue;
        await succeeds(() => as.unpair(at, pairing.uid), 200);
        pairing.unpaired = true;
      } catch (failure) {
        failures.push(inspect(failure));
      }
  }

  const all = Promise.all(Array.from({ length: CUSTOMERS }, (_, index) => customer(index)));
  return {
    paired,
    failures,
    requests: () => requests,
    /** Resolves when each customer has finished. */
    async stop() {
      over = true;
      await all;
    },
  };
}
