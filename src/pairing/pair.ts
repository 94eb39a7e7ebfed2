import { setTimeout as sleep } from 'node:timers/promises';
import { hashCode, normalizeCode } from '../codes/code';
import type { Context } from '../context';
import { subjectHashes } from '../crypto/keys';
import { Batcher, type Deadlines, requestDeadlines } from '../db/batcher';
import { asBytea, prepared, preparedRows } from '../db/query';
import { Problem } from '../problems';
import { type Station, stationKey } from '../stations/station';
import { inProgress, type Reservation } from './idempotency';
import { limitsRow, type Remaining, rateLimitHeaders, toLimits } from './limits';
import { stationRows } from './station-rows';

export type PairRequest = {
  readonly cpoId: string;
  readonly requestId: string;
  readonly payloadProtocol: string;
  /** As the customer typed it. */
  readonly code: string;
  readonly station: Station;
  /** The outcome is stored under this reservation, in the same commit as the pairing. */
  readonly reservation?: Reservation | undefined;
};

type Outcome =
  | 'paired'
  | 'station-already-paired'
  | 'incorrect-code'
  | 'too-many-incorrect-codes'
  | 'retry'
  | 'counter-locked'
  | 'reservation-lost';

type Row = ReturnType<typeof toRow>;
type Result = Remaining & { n: number; outcome: Outcome; codeId: string | null; retryAfter: number | null };

const PAIR = prepared(
  'pair',
  `select n, outcome, code_id as "codeId", retry_after as "retryAfter",
     (remaining).limit_uid_10min as "limitUid10Min", (remaining).left_uid_10min as "leftUid10Min",
     (remaining).limit_uid_24h as "limitUid24H", (remaining).left_uid_24h as "leftUid24H",
     (remaining).limit_cpo_10min as "limitCpo10Min", (remaining).left_cpo_10min as "leftCpo10Min",
     (remaining).limit_cpo_24h as "limitCpo24H", (remaining).left_cpo_24h as "leftCpo24H"
   from scsp_pair_v2($1, $2, $3, $4, $5)`,
);

const MAX_BATCH_SIZE = 16;
/** Limits how many CPOs may wait for a counter lock at a time. Each of them occupies a connection of the pool. */
const MAX_LOCKED_CPOS = 3;

export type Pair = (request: PairRequest) => Promise<void>;

/**
 * Creates the function that pairs a station with the customer who was shown the code (contract, section 3, steps 5-8).
 * @returns a function that throws Problem `incorrect-code`, `station-already-paired` (the code stays active),
 *   `too-many-incorrect-codes`, `idempotency-in-progress`, `unavailable`
 */
export function createPair(ctx: Context): Pair {
  const send = createSend(ctx);
  return async (request) => {
    const row = toRow(ctx, request);
    const deadlines = requestDeadlines();
    while (performance.now() < deadlines.startBy) {
      const result = await send(row, deadlines);
      if (result.outcome !== 'retry' && result.outcome !== 'counter-locked') return finish(ctx, request, row, result);
      // Wait without a connection. The jitter spreads the retries of requests that collided.
      await sleep(1 + Math.random() * 20);
    }
    throw new Problem('unavailable');
  };
}

/**
 * Creates the function that sends a row in a batch shared by all CPOs. A CPO whose counter is locked by another replica
 * gets a batcher of its own, so that waiting for the lock delays no other CPO.
 */
function createSend(ctx: Context): (row: Row, deadlines: Deadlines) => Promise<Result> {
  const shared = createBatcher(ctx, false);
  const cpoBatchers = new Map<string, { batcher: Batcher<Row, Result>; users: number }>();

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
function createBatcher(ctx: Context, wait: boolean): Batcher<Row, Result> {
  const limits = limitsRow(ctx.config.limits);
  return new Batcher<Row, Result>({
    async work(batch) {
      const requests = batch.map(({ stationRows: _, ...row }, index) => ({ ...row, n: index + 1 }));
      const results = await preparedRows<Result>(ctx.db, PAIR, [
        JSON.stringify(requests),
        JSON.stringify(batch.flatMap(({ stationRows }) => stationRows.evses)),
        JSON.stringify(batch.flatMap(({ stationRows }) => stationRows.connectors)),
        limits,
        wait,
      ]);
      results.sort((a, b) => a.n - b.n);
      for (const cpoId of cposAtDayLimit(batch, results)) ctx.metrics.dayLimitReached(cpoId);
      return results;
    },
    maxBatchSize: MAX_BATCH_SIZE,
    // The statement may have committed: sending its requests again could produce a wrong outcome.
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
}

/** Returns the CPOs that reached their 24-hour limit in this batch. */
function cposAtDayLimit(batch: readonly Row[], results: readonly Result[]): Set<string> {
  const exhausting = batch.filter((_, i) => results[i]?.outcome === 'incorrect-code' && results[i].leftCpo24H <= 0);
  return new Set(exhausting.map((row) => row.cpo_id));
}

function toRow(ctx: Context, request: PairRequest) {
  const code = normalizeCode(request.code);
  const pairingId = ctx.random.uuid();
  const stationUid = stationKey(request.station.uid);
  return {
    cpo_id: request.cpoId,
    pairing_id: pairingId,
    event_id: ctx.random.uuid(),
    attempt_id: ctx.random.uuid(),
    request_id: request.requestId,
    code_length: code.length,
    code_hashes: ctx.keys.pairingCode.map((key) => asBytea(hashCode(key, code))),
    payload_protocol: request.payloadProtocol,
    uid: request.station.uid,
    station_uid: stationUid,
    uid_hashes: uidHashes(ctx, request.cpoId, stationUid),
    idempotency_path: request.reservation?.path,
    idempotency_key: request.reservation?.key,
    reservation: request.reservation?.id,
    stationRows: stationRows(pairingId, request.station),
  };
}

/** Returns the keyed hashes under which failed attempts of a CPO and uid are counted. */
function uidHashes(ctx: Pick<Context, 'keys'>, cpoId: string, stationUid: string): string[] {
  return subjectHashes(ctx.keys, 'uid', `${cpoId} ${stationUid}`).map(asBytea);
}

/** Records the outcome in the metrics and throws the problem, if any. */
function finish(ctx: Context, request: PairRequest, row: Row, result: Result): void {
  const { outcome } = result;
  if (outcome === 'paired') {
    return ctx.metrics.stationPaired({
      pairing_id: row.pairing_id,
      code_id: result.codeId ?? '',
      cpo_id: request.cpoId,
      payload_protocol: request.payloadProtocol,
    });
  }
  if (outcome === 'reservation-lost') throw inProgress(1);
  if (outcome === 'retry' || outcome === 'counter-locked') throw new Problem('unavailable');
  ctx.metrics.pairingRefused(outcome, request.cpoId);
  if (outcome === 'station-already-paired') throw new Problem(outcome);
  const retryAfter = result.retryAfter ?? undefined;
  throw new Problem(outcome, {
    headers: {
      ...rateLimitHeaders(toLimits(result), retryAfter),
      ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
    },
  });
}
