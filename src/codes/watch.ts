import type { Context } from '../context';
import { readUntil } from '../db/read-until';
import { CODES_CHANNEL, type Code, readCode } from './codes';

/**
 * Waits until a code's status is final, `waitSeconds` have passed or the signal aborts.
 * @param signal belongs to this request alone
 * @returns the code's current state
 * @throws Problem `not-found`, also if the code's user is forgotten meanwhile
 */
export function watchCode(
  { listener, db }: Pick<Context, 'listener' | 'db'>,
  id: string,
  waitSeconds: number,
  signal: AbortSignal,
): Promise<Code> {
  const read = async () => {
    const { code, expiresInMs } = await readCode({ db }, id);
    return { value: code, final: code.status !== 'active', againInMs: expiresInMs + 1 };
  };
  return readUntil(listener, { channel: CODES_CHANNEL, payload: id }, read, waitSeconds, signal);
}
