import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Replicas of 0.1 go on with cpo_tries while this version is rolled out: they lock the same row of it, and what they count
// there is added here. Its arrays go when no replica of 0.1 can run any more.
const UP = `
-- Each incorrect code that counts, under keyed hashes; removed after a day.
create table failed_attempts (
  cpo_id uuid not null,
  failed_at timestamptz not null,
  seq bigint not null,
  uid_hash bytea not null,
  code_hash bytea not null,
  constraint failed_attempts_pkey primary key (cpo_id, failed_at, seq)
);
-- No index begins with the time: the planner would take it where it expects few attempts of a day.
create index failed_attempts_uid_hash_idx on failed_attempts (uid_hash, failed_at);

-- The number and time of a CPO's last failed attempt, and the limits that are its own.
alter table cpo_tries
  add failed_count bigint not null default 0,
  add last_failed_at timestamptz,
  add limit_cpo_uid_10min integer,
  add limit_cpo_uid_24h integer,
  add limit_cpo_10min integer,
  add limit_cpo_24h integer;

-- Why a code was incorrect, for operators.
alter table attempts add reason text;

-- Fences a request whose key was taken over, and finds the pairing that a stored response tells of.
alter table idempotency_keys add reservation uuid, add pairing_id uuid;

create type scsp_limits as (
  uid_10min integer, uid_24h integer, cpo_10min integer, cpo_24h integer, per_success double precision);
create type scsp_remaining as (
  cpo_id uuid, counted_at timestamptz, limit_uid_10min integer, limit_uid_24h integer,
  limit_cpo_10min integer, left_cpo_10min integer, limit_cpo_24h integer, left_cpo_24h integer);
create type scsp_remaining_uid as (
  counted_at timestamptz, limit_uid_10min integer, left_uid_10min integer, limit_uid_24h integer, left_uid_24h integer,
  limit_cpo_10min integer, left_cpo_10min integer, limit_cpo_24h integer, left_cpo_24h integer);

-- What the steps of scsp_pair_v1 hand on, by the number of the request.
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
  // In one of its own, which is tried again while a table is locked. A migration that was not recorded is run again from its
  // beginning.
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, [DOWN, UP, ...FUNCTIONS.map(sqlFile)].join('\n'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
