import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, because the index of all pairings is built while they go on. Every step can be repeated.

const TABLES = `
-- Whether a CPO was created by its own developer in a sandbox deployment (POST /v1/sandbox/cpos).
alter table cpos add column if not exists sandbox boolean not null default false;
-- Names of self-service CPOs need not be unique.
alter table cpos drop constraint if exists cpos_name_key;
create unique index if not exists cpos_name_key on cpos (name) where not sandbox;

-- The self-service CPOs created within the last hour, with a keyed hash of the address that each came from.
create table if not exists sandbox_sign_ups (
  id uuid constraint sandbox_sign_ups_pkey primary key,
  address_hash bytea not null,
  signed_up_at timestamptz(3) not null default now()
);
create index if not exists sandbox_sign_ups_address_idx on sandbox_sign_ups (address_hash, signed_up_at);

-- When a CPO of a sandbox deployment used what is limited.
create table if not exists sandbox_limits (
  cpo_id uuid constraint sandbox_limits_pkey primary key
    constraint sandbox_limits_cpo_id_fkey references cpos (id) on delete cascade,
  endpoint_at timestamptz[] not null default '{}',
  redemption_at timestamptz[] not null default '{}',
  unpair_at timestamptz[] not null default '{}'
);
`;

// The pairings with test customers: those of forgotten users have no uid. Outside sandbox deployments it stays empty.
const DROP_INDEX = 'drop index concurrently if exists pairings_test_cpo_idx';
const CREATE_INDEX = `
create index concurrently pairings_test_cpo_idx on pairings (cpo_id, id)
  where user_id is null and station_uid is not null`;

const DROP_FUNCTION = 'drop function if exists scsp_remove_unused_cpos_v1;';

const DOWN = `
${DROP_FUNCTION}
drop index pairings_test_cpo_idx;
drop table sandbox_limits, sandbox_sign_ups;
update cpos set name = name || ' ' || id where sandbox;
drop index cpos_name_key;
alter table cpos add constraint cpos_name_key unique (name), drop column sandbox;
`;

export class SelfServiceCpos1764000000019 implements MigrationInterface {
  name = 'SelfServiceCpos1764000000019';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, TABLES);
    // A build that was interrupted leaves an index that is not valid.
    await runner.query(DROP_INDEX);
    await runner.query(CREATE_INDEX);
    await runner.query(DROP_FUNCTION + sqlFile('remove-unused-cpos-v1'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
