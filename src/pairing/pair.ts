import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { createdAt } from '../crypto/random';
import { Batcher, type Deadlines, requestDeadlines } from '../db/batcher';
import { preparedRows } from '../db/query';
import { Problem } from '../problems';
import { inProgress } from './idempotency';
import { rateLimitHeaders, toLimits } from './limits';
import { PAIR, type PairRequest, type PairResult, type PairRow, pairParameters, toPairRow } from './pair-statement';

const MAX_BATCH_SIZE = 16;
/** Limits how many CPOs may wait for a counter lock at a time. Each of them occupies a connection of the pool. */
const MAX_LOCKED_CPOS = 3;

/** The ids of a new pairing and of the code that it used. */
export type Paired = { readonly pairingId: string; readonly codeId: string };

export type Pair = (request: PairRequest) => Promise<Paired>;

/**
 * Creates the function that pairs a station with the customer who was shown the code (contract, section 3, steps 5-8).
 * @returns a function that throws Problem `incorrect-code`, `station-already-paired` (the code stays active),
 *   `too-many-incorrect-codes`, `idempotency-in-progress`, `unavailable`
 */
export function createPair(ctx: Context): Pair {
  const send = createSend(ctx);
  return (request) => pairBy(ctx, send, request);
}

/** Sends a row to the database and returns what came of it. */
export type Send = (row: PairRow, deadlines: Deadlines) => Promise<PairResult>;

/**
 * Pairs by a function that sends the row of the request, and records the outcome.
 * @throws Problem as the function that `createPair` returns does, and what `send` throws
 */
export async function pairBy(ctx: Context, send: Send, request: PairRequest): Promise<Paired> {
  const { origin } = request;
  const fields = { cpo_id: request.cpoId, payload_protocol: request.payloadProtocol };
  try {
    const paired = await sendUntilDecided(ctx, send, request);
    ctx.metrics.stationPaired({ pairing_id: paired.pairingId, code_id: paired.codeId, ...fields }, origin);
    // The test codes of a sandbox deployment were never issued.
    if (request.codeScope === undefined) ctx.metrics.codeUsed(ageOf(paired.codeId));
    return paired;
  } catch (error) {
    // `RefusedAttempts` records a request whose Idempotency-Key another has taken over.
    if (error instanceof Problem && error.type !== 'idempotency-in-progress')
      ctx.metrics.pairingRefused(error.type, { ...fields, ...codeOf(error) }, origin);
    throw error;
  }
}

const codeOf = (error: Problem) => error instanceof StationAlreadyPaired && { code_id: error.codeId };

/** Returns the time in ms since a code was issued: its id tells, so that nothing needs to be read. */
function ageOf(codeId: string): number | undefined {
  const issuedAt = createdAt(codeId);
  return issuedAt === undefined ? undefined : Date.now() - issuedAt;
}

/** Sends the row of a request, again while it collides with others. */
async function sendUntilDecided(ctx: Context, send: Send, request: PairRequest): Promise<Paired> {
  const row = toPairRow(ctx, request);
  const deadlines = requestDeadlines();
  while (performance.now() < deadlines.startBy) {
    const result = await send(row, deadlines);
    const { outcome, codeId } = result;
    if (outcome === 'paired') return { pairingId: row.pairing_id, codeId: codeId ?? '' };
    if (outcome === 'reservation-lost') throw inProgress(1);
    if (outcome !== 'retry' && outcome !== 'counter-locked') throw refusal(outcome, result);
    // Wait without a connection. The jitter spreads the retries of requests that collided.
    await sleep(1 + Math.random() * 20);
  }
  throw new Problem('unavailable');
}

/**
 * Creates the function that sends a row in a batch shared by all CPOs. A CPO whose counter is locked by another replica
 * gets a batcher of its own, so that waiting for the lock delays no other CPO.
 */
function createSend(ctx: Context): Send {
  const shared = createBatcher(ctx, false);
  const cpoBatchers = new Map<string, { batcher: Batcher<PairRow, PairResult>; users: number }>();
  ctx.metrics.readFrom({
    pairQueue: () => [...cpoBatchers.values()].reduce((sum, { batcher }) => sum + batcher.queued, shared.queued),
  });

  return async (row, deadlines) => {
    if (!cpoBatchers.has(row.cpo_id)) {
      const result = await shared.add(row.cpo_id, row, deadlines);
      if (result.outcome !== 'counter-locked') return result;
      if (!cpoBatchers.has(row.cpo_id) && cpoBatchers.size >= MAX_LOCKED_CPOS) return result;
    }
    const own = cpoBatchers.get(row.cpo_id) ?? { batcher: createBatcher(ctx, true), users: 0 };
    cpoBatchers.set(row.cpo_id, own);
    own.users += 1;
    try {
      return await own.batcher.add(row.cpo_id, row, deadlines);
    } finally {
      own.users -= 1;
      if (own.users === 0) cpoBatchers.delete(row.cpo_id);
    }
  };
}

/** @param wait whether to wait for locked counters instead of skipping their requests */
function createBatcher(ctx: Context, wait: boolean): Batcher<PairRow, PairResult> {
  return new Batcher<PairRow, PairResult>({
    async work(batch) {
      const results = await preparedRows<PairResult>(ctx.db, PAIR, pairParameters(ctx, batch, wait));
      results.sort((a, b) => a.n - b.n);
      recordDayLimits(ctx, batch, results);
      return results;
    },
    maxBatchSize: MAX_BATCH_SIZE,
    // The statement may have committed: sending its requests again could produce a wrong outcome.
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
}

/** Records the CPOs that reached their 24-hour limit in a batch. */
export function recordDayLimits(
  ctx: Pick<Context, 'metrics'>,
  batch: readonly PairRow[],
  results: readonly PairResult[],
): void {
  const exhausting = batch.filter((_, i) => results[i]?.outcome === 'incorrect-code' && results[i].leftCpo24H <= 0);
  for (const [cpoId, origin] of new Map(exhausting.map((row) => [row.cpo_id, row.origin])))
    ctx.metrics.dayLimitReached(cpoId, origin);
}

/** A correct code met a station that is already paired. The code stays active. */
export class StationAlreadyPaired extends Problem {
  constructor(readonly codeId: string | undefined) {
    super('station-already-paired');
  }
}

type Refusal = 'station-already-paired' | 'incorrect-code' | 'too-many-incorrect-codes';

/** Returns the problem of an outcome. */
function refusal(outcome: Refusal, result: PairResult): Problem {
  if (outcome === 'station-already-paired') return new StationAlreadyPaired(result.codeId ?? undefined);
  const retryAfter = result.retryAfter ?? undefined;
  return new Problem(outcome, {
    headers: {
      ...rateLimitHeaders(toLimits(result), retryAfter),
      ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
    },
  });
}
