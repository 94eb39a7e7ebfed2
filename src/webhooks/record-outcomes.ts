import type { Context } from '../context';
import { Batcher } from '../db/batcher';
import { sqlStateOf } from '../db/errors';
import { prepared, preparedRows } from '../db/query';
import { Problem } from '../problems';

/** How often the time of the last success is updated at most. */
const SUCCESS_SECONDS = 5;
const MAX_BATCH_SIZE = 100;
/** How long an outcome waits for others. Short, because it takes a place among the calls of its endpoint meanwhile. */
const GATHER_MS = 5;
/** An outcome that is not recorded by then is given up: its lease runs out, and the event is sent again. */
const RECORD_WITHIN_MS = 10_000;

/** What came of a leased delivery. */
export type Outcome = {
  readonly endpointId: string;
  /** The endpoint's URL when the delivery was leased. */
  readonly url: string;
  readonly position: string;
  readonly leasedUntil: Date;
  readonly attempt: number;
  /** `put-back`: the endpoint was not called. */
  readonly result: 'delivered' | 'failed' | 'put-back';
  readonly status?: number | undefined;
  readonly durationMs?: number;
  readonly error?: string | undefined;
  /** The seconds until the next attempt; undefined after the last one. */
  readonly pause?: number | undefined;
};

/**
 * Records outcomes in the order of `n`.
 *
 * | step     | locks                                  | rows                                                     |
 * |----------|----------------------------------------|----------------------------------------------------------|
 * | changing | endpoints that change, in order of id  |                                                          |
 * | counted  |                                        |                                                          |
 * | endpoint |                                        | updates each of these endpoints once                     |
 * | leased   | deliveries, in order of their keys     |                                                          |
 * | delivery |                                        | updates them                                             |
 *
 * Endpoints are locked before deliveries, as by a redelivery. One that works and had a success lately is neither locked nor
 * updated: it would be a hot row. An outcome of another URL, which the endpoint had before, says nothing about it. Failures
 * are counted from the last success, in the batch too. A delivery whose lease another process holds by now is left alone.
 * A redelivery that was requested during the call has set `attempts` to 0; the event is then sent again. A delivery that was
 * skipped meanwhile, because the endpoint was disabled, stays skipped unless it was delivered.
 */
const RECORD = prepared(
  'record_outcomes',
  `with outcome as materialized (
  select * from json_to_recordset($1) as o (n int, "endpointId" uuid, url text, position bigint, "leasedUntil" timestamptz,
    attempt int, result text, status int, "durationMs" int, error text, pause float8)
), changing as (
  select w.id, w.url, w.failures from webhook_endpoints w
  where w.deleted_at is null and exists (
    select from outcome o
    where o."endpointId" = w.id and o.url = w.url and (o.result = 'failed' or o.result = 'delivered' and (
      w.failures > 0 or w.failing_since is not null or w.last_success_at is null
      or w.last_success_at < now() - make_interval(secs => ${SUCCESS_SECONDS}))))
  order by w.id for no key update
), ordered as (
  select o.n, o."endpointId" as id, o.result, c.failures as before,
    count(*) filter (where o.result = 'delivered') over (partition by c.id order by o.n) as successes
  from outcome o join changing c on c.id = o."endpointId" and c.url = o.url
), counted as (
  select n, id, result, successes, case when successes = 0 then before else 0 end
    + count(*) filter (where result = 'failed') over (partition by id, successes order by n) as failures
  from ordered
), endpoint as (
  update webhook_endpoints w
  set failures = l.failures,
    failing_since = case
      when l.failures = 0 then null
      when l.successes > 0 then now()
      else coalesce(w.failing_since, now()) end,
    announced_at = case when l.successes = 0 then w.announced_at end,
    last_success_at = case when l.successes > 0 then now() else w.last_success_at end
  from (select distinct on (id) * from counted order by id, n desc) l
  where w.id = l.id
  returning 1
), leased as (
  select d.endpoint_id, d.position, o.attempt, o.result, o.status, o."durationMs", o.error, o.pause
  from outcome o
  join webhook_deliveries d on d.endpoint_id = o."endpointId" and d.position = o.position and d.leased_until = o."leasedUntil"
  where (select count(*) from endpoint) >= 0
  order by d.endpoint_id, d.position for no key update of d
), delivery as (
  update webhook_deliveries d
  set leased_until = null,
    attempts = case when l.result = 'put-back' then greatest(d.attempts - 1, 0) else d.attempts end,
    last_status = case when l.result = 'put-back' then d.last_status else l.status end,
    last_duration_ms = case when l.result = 'put-back' then d.last_duration_ms else l."durationMs" end,
    last_error = case when l.result = 'put-back' then d.last_error else l.error end,
    status = case
      when d.attempts <> l.attempt then d.status
      when l.result = 'delivered' then 'delivered'
      when l.result = 'failed' and l.pause is null and d.status = 'pending' then 'failed'
      else d.status end,
    next_attempt_at = case
      when l.result <> 'put-back' and d.attempts <> l.attempt then now()
      when l.result = 'delivered' then d.next_attempt_at
      else now() + make_interval(secs => coalesce(l.pause, 0)) end
  from leased l
  where d.endpoint_id = l.endpoint_id and d.position = l.position
)
select n, failures from counted where result = 'failed'`,
);

/** The failures of an endpoint since its last success, this outcome included; 0 if the outcome does not count. */
export type Recorded = { readonly failures: number };

export type RecordOutcome = (outcome: Outcome) => Promise<Recorded>;

/**
 * Creates the function that records outcomes, those that come at about the same time in one statement.
 * @returns a function that throws Problem `unavailable`
 */
export function createRecordOutcome({ db }: Pick<Context, 'db'>): RecordOutcome {
  const batcher = new Batcher<Outcome, Recorded>({
    async work(batch) {
      const outcomes = batch.map((outcome, n) => ({ n, ...outcome }));
      const found = await preparedRows<{ n: number; failures: string }>(db, RECORD, [JSON.stringify(outcomes)]);
      const failures = new Map(found.map((row) => [row.n, Number(row.failures)]));
      return batch.map((_, n) => ({ failures: failures.get(n) ?? 0 }));
    },
    maxBatchSize: MAX_BATCH_SIZE,
    gatherMs: GATHER_MS,
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable' && !isLockConflict(error.cause),
  });
  return (outcome) => {
    const by = performance.now() + RECORD_WITHIN_MS;
    return batcher.add(outcome.endpointId, outcome, { startBy: by, answerBy: by });
  };
}

/** Returns whether a lock was not given in time, or a deadlock found: nothing of the batch was recorded. */
const isLockConflict = (error: unknown) => ['55P03', '40P01'].includes(sqlStateOf(error) ?? '');
