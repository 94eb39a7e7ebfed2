import { hashCode, normalizeCode, repeatsCode } from '../codes/code';
import type { Context } from '../context';
import { type Origin, storedTrace } from '../contract/trace-context';
import { subjectHashes } from '../crypto/keys';
import { asBytea, prepared } from '../db/query';
import { type Station, stationKey } from '../stations/station';
import type { Reservation } from './idempotency';
import { limitsRow, type Remaining } from './limits';
import { stationRows } from './station-rows';

export type PairRequest = {
  readonly cpoId: string;
  readonly origin: Origin;
  readonly payloadProtocol: string;
  /** As the customer typed it. */
  readonly code: string;
  readonly station: Station;
  /** The id of the CPO within which the uid is unique: a self-service CPO of a sandbox deployment. Undefined: among all CPOs. */
  readonly uidScope?: string | undefined;
  /** The id of the CPO that alone knows the code: one of a sandbox deployment. Undefined: the code was issued to an app. */
  readonly codeScope?: string | undefined;
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

/** A request as `scsp_pair_v4` takes it, and the rows of its station. */
export type PairRow = ReturnType<typeof toPairRow>;
export type PairResult = Remaining & { n: number; outcome: Outcome; codeId: string | null; retryAfter: number | null };

/** Takes the parameters of `pairParameters`. */
export const PAIR = prepared(
  'pair',
  `select n, outcome, code_id as "codeId", retry_after as "retryAfter",
     (allowance).limit_uid_10min as "limitUid10Min", (allowance).left_uid_10min as "leftUid10Min",
     (allowance).limit_uid_24h as "limitUid24H", (allowance).left_uid_24h as "leftUid24H",
     (allowance).limit_cpo_10min as "limitCpo10Min", (allowance).left_cpo_10min as "leftCpo10Min",
     (allowance).limit_cpo_24h as "limitCpo24H", (allowance).left_cpo_24h as "leftCpo24H"
   from scsp_pair_v4($1, $2, $3, $4, $5)`,
);

/** @param wait whether to wait for locked counters instead of skipping their requests */
export function pairParameters(ctx: Pick<Context, 'config'>, batch: readonly PairRow[], wait: boolean): unknown[] {
  return [
    JSON.stringify(batch.map(({ stationRows: _, origin: __, ...row }, index) => ({ ...row, n: index + 1 }))),
    JSON.stringify(batch.flatMap(({ stationRows }) => stationRows.evses)),
    JSON.stringify(batch.flatMap(({ stationRows }) => stationRows.connectors)),
    limitsRow(ctx.config.limits),
    wait,
  ];
}

export function toPairRow(ctx: Pick<Context, 'keys' | 'random'>, request: PairRequest) {
  const pairingId = ctx.random.uuid();
  const stationUid = stationKey(request.station.uid, request.uidScope);
  return {
    cpo_id: request.cpoId,
    pairing_id: pairingId,
    event_id: ctx.random.uuid(),
    attempt_id: ctx.random.uuid(),
    request_id: request.origin.requestId,
    ...codeColumns(ctx, request),
    payload_protocol: request.payloadProtocol,
    uid: request.station.uid,
    uid_repeats_code: repeatsCode(request.station.uid, request.code) || undefined,
    station_uid: stationUid,
    uid_hashes: uidHashes(ctx, request.cpoId, stationUid),
    idempotency_path: request.reservation?.path,
    idempotency_key: request.reservation?.key,
    reservation: request.reservation?.id,
    stationRows: stationRows(pairingId, request.station),
    traceparent: storedTrace(request.origin),
    origin: request.origin,
  };
}

/**
 * Returns the columns by which a code is found. The space keeps the code of one CPO apart from all others: no normalised code
 * contains one. Its length is stored as 0, so that it does not count towards the space of issued codes.
 */
function codeColumns({ keys }: Pick<Context, 'keys'>, { code: typed, codeScope }: PairRequest) {
  const code = normalizeCode(typed);
  const text = codeScope === undefined ? code : `${codeScope} ${code}`;
  return {
    code_length: codeScope === undefined ? code.length : 0,
    code_hashes: keys.pairingCode.map((key) => asBytea(hashCode(key, text))),
  };
}

/** Returns the keyed hashes under which failed attempts of a CPO and uid are counted. */
function uidHashes(ctx: Pick<Context, 'keys'>, cpoId: string, stationUid: string): string[] {
  return subjectHashes(ctx.keys, 'uid', `${cpoId} ${stationUid}`).map(asBytea);
}
