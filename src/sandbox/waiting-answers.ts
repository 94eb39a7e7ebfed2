import { setTimeout as sleep } from 'node:timers/promises';
import type { Response } from 'express';
import type { Context } from '../context';
import { Counts } from '../delivery/counts';
import { endWait, waitSignal } from '../http/client-disconnect';
import { freeSlot } from '../http/load-shedding';
import { Problem } from '../problems';

const MOST_PER_CPO = 4;

/** Delays the answers to test codes: of each CPO a few at a time, which count towards no other limit. */
export class WaitingAnswers {
  readonly #waiting = new Counts();

  constructor(readonly ctx: Pick<Context, 'stopping'>) {}

  /**
   * Runs `work` while one of the CPO's places is taken.
   * @throws Problem `too-many-requests` if there is none
   */
  async within(cpoId: string, work: () => Promise<void>): Promise<void> {
    if (this.#waiting.of(cpoId) >= MOST_PER_CPO)
      throw new Problem('too-many-requests', {
        message: `At most ${MOST_PER_CPO} answers to the codes 000200 and 000504 wait at a time, please try again.`,
        headers: { 'Retry-After': '1' },
      });
    await this.#waiting.during(cpoId, work);
  }

  /** Frees the slot of a request, and waits until the time has passed, the client disconnects or the service stops. */
  async pause(res: Response, ms: number): Promise<void> {
    freeSlot(res);
    const { stopping } = this.ctx;
    const signal = waitSignal(res);
    const end = () => endWait(res);
    stopping.addEventListener('abort', end);
    if (stopping.aborted) end();
    await sleep(ms, undefined, { signal }).catch(() => undefined);
    stopping.removeEventListener('abort', end);
  }
}
