import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, so that the index is dropped while requests go on, and the lock on a counter is waited for in short
// attempts. Every step can be repeated.

// Only replicas of 0.1 looked up attempts by it: lower() follows the collation of the database there.
const DROP_INDEX = 'drop index concurrently if exists attempts_uid_idx';

// What replicas of 0.1 counted is not read any more, and held uids. Replicas of 0.2.0 still read the columns.
const CLEAR_FORMER_COUNTS = `
update cpo_tries set wrong_at = '{}', wrong_uid = '{}', wrong_by_half_hour = '{}'
where wrong_at <> '{}' or wrong_uid <> '{}' or wrong_by_half_hour <> '{}'`;

const TYPES = `
-- A request as scsp_pair_v4 takes it; n is its number in the batch. uid_repeats_code: null if it does not.
create type scsp_pair_request_v2 as (
  n integer, cpo_id uuid, pairing_id uuid, event_id uuid, attempt_id uuid, request_id text, traceparent text,
  code_length smallint, code_hashes bytea[], payload_protocol text,
  uid text, uid_repeats_code boolean, station_uid text, uid_hashes bytea[],
  idempotency_path text, idempotency_key text, reservation uuid);
-- What remains of the limits on incorrect codes for request n.
create type scsp_allowance_v2 as (
  n integer, counted_at timestamptz, limit_uid_10min integer, left_uid_10min integer, limit_uid_24h integer, left_uid_24h integer,
  limit_cpo_10min integer, left_cpo_10min integer, limit_cpo_24h integer, left_cpo_24h integer);
`;

const FUNCTIONS = ['remaining-v2', 'allowances-v1', 'retry-after-v2', 'pair-v4'];

const DROP_FUNCTIONS = `
drop function if exists scsp_pair_v4, scsp_retry_after_v2, scsp_allowances_v1, scsp_remaining_v2;
drop type if exists scsp_allowance_v2, scsp_pair_request_v2;
`;

export class PairInFewerStatements1764000000024 implements MigrationInterface {
  name = 'PairInFewerStatements1764000000024';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(DROP_INDEX);
    await withShortLocks(runner, CLEAR_FORMER_COUNTS);
    await runner.query([DROP_FUNCTIONS, TYPES, ...FUNCTIONS.map(sqlFile)].join('\n'));
  }
  async down(runner: QueryRunner): Promise<void> {
    // The index does not come back: no replica that can still run needs it.
    await runner.query(DROP_FUNCTIONS);
  }
}
