import { setTimeout as sleep } from 'node:timers/promises';
import { hashCode, normalizeCode } from '../codes/code';
import type { Context } from '../context';
import { subjectHashes } from '../crypto/keys';
import { Batcher, type Deadlines, requestDeadlines } from '../db/batcher';
import { asBytea, prepared, preparedRows } from '../db/query';
import { Problem } from '../problems';
import { type Station, stationKey } from '../stations/station';
import { inProgress, type Reservation } from './idempotency';
import { asLimits, limitsRow, type Remaining, rateLimitHeaders } from './limits';
import { stationRows } from './station-rows';

export type PairRequest = {
  readonly cpoId: string;
  readonly requestId: string;
  readonly payloadProtocol: string;
  /** As the customer typed it. */
  readonly code: string;
  readonly station: Station;
  /** The reservation of an Idempotency-Key, under which the outcome is stored in the same commit. */
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

type Row = ReturnType<typeof rowOf>;
type Result = Remaining & { n: number; outcome: Outcome; codeId: string | null; retryAfter: number | null };

const PAIR = prepared(
  'pair',
  `select n, outcome, code_id as "codeId", retry_after as "retryAfter",
     (remaining).limit_uid_10min as "limitUid10Min", (remaining).left_uid_10min as "leftUid10Min",
     (remaining).limit_uid_24h as "limitUid24H", (remaining).left_uid_24h as "leftUid24H",
     (remaining).limit_cpo_10min as "limitCpo10Min", (remaining).left_cpo_10min as "leftCpo10Min",
     (remaining).limit_cpo_24h as "limitCpo24H", (remaining).left_cpo_24h as "leftCpo24H"
   from scsp_pair_v1($1, $2, $3, $4, $5)`,
);

/** So many requests share a statement at most. */
const LARGEST_SET = 16;
/** CPOs that are waited for at once, each on a connection of its own: their counters are locked by other replicas. */
const MOST_WAITING_CPOS = 3;

export type Pair = (request: PairRequest) => Promise<void>;

/**
 * Pairs stations with the customers who were shown the codes: all of a pairing is stored, or nothing (contract, section 3,
 * steps 5 to 8).
 * @returns a verb that throws Problem `incorrect-code`, `station-already-paired` (the code is not used up),
 *   `too-many-incorrect-codes`, `idempotency-in-progress`, `unavailable`
 */
export function createPair(ctx: Context): Pair {
  const send = createSend(ctx);
  return async (request) => {
    const row = rowOf(ctx, request);
    const deadlines = requestDeadlines();
    while (performance.now() < deadlines.startBy) {
      const result = await send(row, deadlines);
      if (result.outcome !== 'retry' && result.outcome !== 'counter-locked') return settle(ctx, request, row, result);
      // No connection is held while another request has the code; jitter keeps a crowd from coming back at once.
      await sleep(1 + Math.random() * 20);
    }
    throw new Problem('unavailable');
  };
}

/**
 * Sends rows in sets of any CPOs. A CPO whose counter is locked elsewhere is waited for in a queue of its own, so that it
 * delays nobody else.
 */
function createSend(ctx: Context): (row: Row, deadlines: Deadlines) => Promise<Result> {
  const shared = createBatcher(ctx, false);
  const ofCpo = new Map<string, { batcher: Batcher<Row, Result>; users: number }>();

  return async (row, deadlines) => {
    if (!ofCpo.has(row.cpo_id)) {
      const result = await shared.add(row.cpo_id, row, deadlines);
      if (result.outcome !== 'counter-locked') return result;
      if (!ofCpo.has(row.cpo_id) && ofCpo.size >= MOST_WAITING_CPOS) return result;
    }
    const own = ofCpo.get(row.cpo_id) ?? { batcher: createBatcher(ctx, true), users: 0 };
    ofCpo.set(row.cpo_id, own);
    own.users += 1;
    try {
      return await own.batcher.add(row.cpo_id, row, deadlines);
    } finally {
      own.users -= 1;
      if (own.users === 0) ofCpo.delete(row.cpo_id);
    }
  };
}

/** @param wait whether counters that are locked are waited for */
function createBatcher(ctx: Context, wait: boolean): Batcher<Row, Result> {
  const limits = limitsRow(ctx.config.limits);
  return new Batcher<Row, Result>({
    async work(set) {
      const requests = set.map(({ stationRows: _, ...row }, index) => ({ ...row, n: index + 1 }));
      const results = await preparedRows<Result>(ctx.db, PAIR, [
        JSON.stringify(requests),
        JSON.stringify(set.flatMap(({ stationRows }) => stationRows.evses)),
        JSON.stringify(set.flatMap(({ stationRows }) => stationRows.connectors)),
        limits,
        wait,
      ]);
      results.sort((a, b) => a.n - b.n);
      for (const cpoId of usedUpADay(set, results)) ctx.metrics.dayLimitReached(cpoId);
      return results;
    },
    largest: LARGEST_SET,
    // Whether the statement was committed is not known then: to send it again one by one could give the wrong answer.
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
}

/** The CPOs whose attempts in a set have used up what was left of 24 hours; afterwards no code of theirs is looked at. */
function usedUpADay(set: readonly Row[], results: readonly Result[]): Set<string> {
  const last = set.filter((_, i) => results[i]?.outcome === 'incorrect-code' && results[i].leftCpo24H <= 0);
  return new Set(last.map((row) => row.cpo_id));
}

function rowOf(ctx: Context, request: PairRequest) {
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

/** The keyed hashes of a CPO's uid, under which its failed attempts are counted. */
function uidHashes(ctx: Pick<Context, 'keys'>, cpoId: string, stationUid: string): string[] {
  return subjectHashes(ctx.keys, 'uid', `${cpoId} ${stationUid}`).map(asBytea);
}

function settle(ctx: Context, request: PairRequest, row: Row, result: Result): void {
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
      ...rateLimitHeaders(asLimits(result), retryAfter),
      ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
    },
  });
}
