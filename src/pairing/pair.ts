import { setTimeout as sleep } from 'node:timers/promises';
import { hashCode, normalizeCode } from '../codes/code';
import type { Context } from '../context';
import { Batches } from '../db/batches';
import { prepared, preparedRows } from '../db/database';
import { Problem } from '../problems';
import { type Station, stationKey } from '../stations/station';
import { asLimits, type Room, rateLimitHeaders } from './limits';
import { type PairOutcome, type PairRow, pairStatement } from './pair-statement';
import { evseRows } from './store';

export type PairRequest = {
  readonly cpoId: string;
  readonly requestId: string;
  readonly payloadProtocol: string;
  /** As the customer typed it. */
  readonly code: string;
  readonly station: Station;
  /** Where the outcome is kept for the same request to come, in the same commit. */
  readonly idempotency?: { readonly path: string; readonly key: string } | undefined;
};

type Answer = Room & { n: number; outcome: PairOutcome; codeId: string | null; retryAfter: number | null };

/** How long a request waits for another that holds its code. */
const PATIENCE_MS = 2_000;
/** So many requests of a CPO share a statement at most. */
const LARGEST_BATCH = 16;

export type Pair = (request: PairRequest) => Promise<void>;

/**
 * Pairs stations with the customers who were shown the codes: all of a pairing is stored, or nothing.
 * @returns a verb that throws Problem `incorrect-code`, `station-already-paired` (the code is not used up),
 *   `too-many-incorrect-codes`, `unavailable`
 */
export function createPair(ctx: Context): Pair {
  const statement = prepared('pair', pairStatement(ctx.config));
  const batches = new Batches<PairRow, Answer>(
    async (cpoId, batch) => {
      const requests = batch.map((row, n) => ({ ...row, n }));
      const answers = await preparedRows<Answer>(ctx.db, statement, [JSON.stringify(requests), cpoId]);
      return answers.sort((a, b) => a.n - b.n);
    },
    LARGEST_BATCH,
    // Whether the statement was committed is not known then: asking again one by one would tell the wrong story.
    (error) => error instanceof Problem && error.type === 'unavailable',
  );

  return async (request) => {
    const row = rowOf(ctx, request);
    for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline; ) {
      const answer = await batches.add(request.cpoId, row);
      if (answer.outcome !== 'again') return settle(ctx, request, row, answer);
      // No connection is held while another request has the code; jitter keeps a crowd from coming back at once.
      await sleep(1 + Math.random() * 20);
    }
    throw new Problem('unavailable');
  };
}

function rowOf(ctx: Context, request: PairRequest): PairRow {
  const code = normalizeCode(request.code);
  return {
    n: 0,
    pairing_id: ctx.chance.uuid(),
    event_id: ctx.chance.uuid(),
    attempt_id: ctx.chance.uuid(),
    request_id: request.requestId,
    code_length: code.length,
    code_hashes: ctx.keys.pairingCode.map((key) => `\\x${hashCode(key, code).toString('hex')}`),
    payload_protocol: request.payloadProtocol,
    uid: request.station.uid,
    station_uid: stationKey(request.station.uid),
    evses: evseRows(request.station),
    idempotency_path: request.idempotency?.path,
    idempotency_key: request.idempotency?.key,
  };
}

function settle(ctx: Context, request: PairRequest, row: PairRow, answer: Answer): void {
  const { outcome } = answer;
  if (outcome === 'paired') {
    return ctx.events.stationPaired({
      pairing_id: row.pairing_id,
      code_id: answer.codeId ?? '',
      cpo_id: request.cpoId,
      payload_protocol: request.payloadProtocol,
    });
  }
  ctx.events.pairingRefused(outcome, request.cpoId);
  if (outcome === 'station-already-paired' || outcome === 'again') throw new Problem('station-already-paired');
  // An incorrect code has just taken one of each.
  const used = outcome === 'incorrect-code' ? 1 : 0;
  const limits = asLimits(ctx.config, {
    ...answer,
    left10Min: answer.left10Min - used,
    left24H: answer.left24H - used,
    leftUid: answer.leftUid - used,
  });
  const retryAfter = answer.retryAfter ?? undefined;
  throw new Problem(outcome, {
    headers: {
      ...rateLimitHeaders(limits, retryAfter),
      ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
    },
  });
}
