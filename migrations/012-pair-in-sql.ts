import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// During a rolling upgrade, 0.1 replicas keep using cpo_tries: they lock the same row, and the attempts that they count
// are added to those counted here. Its array columns can be dropped once no 0.1 replica can run.
const UP = `
-- Incorrect codes that count towards the limits, as keyed hashes; deleted after a day.
create table failed_attempts (
  cpo_id uuid not null,
  failed_at timestamptz not null,
  seq bigint not null,
  uid_hash bytea not null,
  code_hash bytea not null,
  constraint failed_attempts_pkey primary key (cpo_id, failed_at, seq)
);
-- No index starts with the time: the planner would choose it if it expects few attempts per day.
create index failed_attempts_uid_hash_idx on failed_attempts (uid_hash, failed_at);

-- Sequence number and time of a CPO's last failed attempt, and its limit overrides.
alter table cpo_tries
  add failed_count bigint not null default 0,
  add last_failed_at timestamptz,
  add limit_cpo_uid_10min integer,
  add limit_cpo_uid_24h integer,
  add limit_cpo_10min integer,
  add limit_cpo_24h integer;

-- Why a code was incorrect; shown to operators only.
alter table attempts add reason text;

-- The reservation fences off a request whose key was taken over; pairing_id is the pairing of the stored response.
alter table idempotency_keys add reservation uuid, add pairing_id uuid;

create type scsp_limits as (
  uid_10min integer, uid_24h integer, cpo_10min integer, cpo_24h integer, per_success double precision);
create type scsp_remaining as (
  cpo_id uuid, counted_at timestamptz, limit_uid_10min integer, limit_uid_24h integer,
  limit_cpo_10min integer, left_cpo_10min integer, limit_cpo_24h integer, left_cpo_24h integer);
create type scsp_remaining_uid as (
  counted_at timestamptz, limit_uid_10min integer, left_uid_10min integer, limit_uid_24h integer, left_uid_24h integer,
  limit_cpo_10min integer, left_cpo_10min integer, limit_cpo_24h integer, left_cpo_24h integer);

-- Rows that the steps of scsp_pair_v1 pass on; n is the number of the request.
create type scsp_pair_request as (
  n integer, cpo_id uuid, pairing_id uuid, event_id uuid, attempt_id uuid, request_id text,
  code_length smallint, code_hashes bytea[], payload_protocol text, uid text, station_uid text, uid_hashes bytea[],
  idempotency_path text, idempotency_key text, reservation uuid);
create type scsp_allowance as (n integer, counted_at timestamptz, left_cpo integer, left_uid integer);
create type scsp_match as (n integer, code_id uuid, user_id text, charging_location_id text);
create type scsp_other as (n integer, outcome text, counted_at timestamptz);
`;

const FUNCTIONS = [
  'counted-v1',
  'paired-users-v1',
  'failed-before-v1',
  'remaining-v1',
  'remaining-uid-v1',
  'allowance-v1',
  'retry-after-v1',
  'store-stations-v1',
  'pair-v1',
  'redeem-v1',
  'unpair-v1',
];

const DOWN = `
drop function if exists scsp_unpair_v1, scsp_redeem_v1, scsp_pair_v1, scsp_store_stations_v1, scsp_retry_after_v1,
  scsp_remaining_uid_v1, scsp_remaining_v1, scsp_allowance_v1,
  scsp_failed_before_v1, scsp_paired_users_v1, scsp_counted_v1;
drop type if exists scsp_other, scsp_match, scsp_allowance, scsp_pair_request, scsp_remaining_uid, scsp_remaining, scsp_limits;
alter table idempotency_keys drop column if exists reservation, drop column if exists pairing_id;
alter table attempts drop column if exists reason;
alter table cpo_tries drop column if exists failed_count, drop column if exists last_failed_at,
  drop column if exists limit_cpo_uid_10min, drop column if exists limit_cpo_uid_24h,
  drop column if exists limit_cpo_10min, drop column if exists limit_cpo_24h;
drop table if exists failed_attempts;
`;

export class PairInSql1764000000012 implements MigrationInterface {
  name = 'PairInSql1764000000012';
  // withShortLocks runs its own transaction and retries while a table is locked. If the migration is not recorded, it
  // runs again from the beginning.
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, [DOWN, UP, ...FUNCTIONS.map(sqlFile)].join('\n'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
