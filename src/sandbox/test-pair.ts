import type { Response } from 'express';
import { normalizeCode } from '../codes/code';
import { NEW_MEMBERS, OTHER_MESSAGE } from '../conformance/client/replies';
import type { Context } from '../context';
import { Batcher } from '../db/batcher';
import { clientHasClosed, stillAllowed } from '../http/client-disconnect';
import type { PairAndAnswer } from '../pairing/http';
import { release } from '../pairing/idempotency';
import { createPair, type Paired, pairBy, recordDayLimits, type Send } from '../pairing/pair';
import type { PairRequest, PairResult, PairRow } from '../pairing/pair-statement';
import { Problem } from '../problems';
import { noteAnswer } from './answer-notes';
import { isRefusal, refuse } from './refuse';
import { TEST_TIMES, type TestAnswer, type TestTimes, testAnswerOf } from './test-codes';
import { pairTestCode } from './test-pair-transaction';
import { WaitingAnswers } from './waiting-answers';

type Input = { readonly row: PairRow; readonly code: string };

/**
 * Creates the function that pairs in a sandbox deployment (contract, section 10): by a test code with the test customer of the
 * CPO, by any other code as everywhere.
 */
export function createTestPair(ctx: Context, times: Partial<TestTimes> = {}): PairAndAnswer {
  const { lateMs, withheldMs } = { ...TEST_TIMES, ...times };
  const pair = createPair(ctx);
  const waiting = new WaitingAnswers(ctx);
  /** One transaction at a time, each CPO in turn, so that test codes never take more than one connection. */
  const batcher = new Batcher<Input, PairResult | undefined>({
    work: (batch) =>
      Promise.all(
        batch.map(async ({ row, code }) => {
          const result = await pairTestCode(ctx, row, code);
          if (result !== undefined) recordDayLimits(ctx, [row], [result]);
          return result;
        }),
      ),
    maxBatchSize: 1,
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });

  const pairOnce = (request: PairRequest, code: string): Promise<Paired> => {
    const send: Send = async (row, deadlines) =>
      (await batcher.add(row.cpo_id, { row, code }, deadlines)) ?? unavailableOnce(ctx, request);
    return pairBy(ctx, send, { ...request, codeScope: request.cpoId });
  };

  return async (request, res) => {
    const code = normalizeCode(request.code);
    const answer = testAnswerOf(code);
    let paired: Paired | undefined;
    if (answer === undefined) paired = await pair(request);
    else if (isRefusal(answer)) {
      if (answer === '000414') noteAnswer(res, { hasOtherMessage: true });
      await refuse(ctx, request, answer);
    } else if (answer === '000307') await redirect(ctx, request, res);
    else if (answer === '000200' || answer === '000504')
      await waiting.within(request.cpoId, async () => {
        paired = await pairOnce(request, code);
        noteAnswer(res, answer === '000200' ? { delayMs: lateMs } : { delayMs: withheldMs, withheld: true });
        await waiting.pause(res, answer === '000200' ? lateMs : withheldMs);
      });
    else {
      paired = await pairOnce(request, code);
      return { paired, members: unusual(res, answer) };
    }
    if (answer === '000504') res.req.socket.destroy();
    else if (answer === '000200') {
      await stillAllowed(res);
      if (clientHasClosed(res)) noteAnswer(res, { delayMs: lateMs, abandoned: true });
    }
    return { ...(paired && { paired }) };
  };
}

/** Returns what the answer has beside or instead of the usual members. */
function unusual(res: Response, answer: TestAnswer): object | undefined {
  if (answer === 'pairs, with new members') {
    noteAnswer(res, { hasNewMembers: true });
    return NEW_MEMBERS;
  }
  if (answer !== 'pairs, with another message') return undefined;
  noteAnswer(res, { hasOtherMessage: true });
  return { message: OTHER_MESSAGE };
}

/** Redirects to a path of this service, where nothing is but the observer of requests. */
async function redirect(ctx: Context, { reservation }: PairRequest, res: Response): Promise<void> {
  if (reservation !== undefined) await release(ctx, reservation);
  res.status(307).location(`/elsewhere${res.req.path}`).end();
}

/** Releases the Idempotency-Key, so that a retry after a second is processed instead of being in progress. */
async function unavailableOnce(ctx: Context, { reservation }: PairRequest): Promise<never> {
  if (reservation !== undefined) await release(ctx, reservation);
  throw new Problem('unavailable', { headers: { 'Retry-After': '1' } });
}
