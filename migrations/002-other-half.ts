import type { MigrationInterface, QueryRunner } from 'typeorm';

const UP = `
alter table cpos add outbound_token bytea, add outbound_key_id text;

-- Null once the user is forgotten: that there was a pairing stays known, whose it was does not.
alter table pairings
  alter user_id drop not null, alter charging_location_id drop not null, alter station_uid drop not null,
  add ended_by text constraint pairings_ended_by_check check (ended_by in ('app', 'cpo'));
create index pairings_active_user_idx on pairings (user_id, id) where ended_at is null;
alter table pairing_codes alter user_id drop not null, alter charging_location_id drop not null;
create index pairing_codes_user_idx on pairing_codes (user_id);
create index pairings_user_idx on pairings (user_id);

-- What a CPO has to be told: that a pairing has ended. A row goes when it is told.
create table outbox (
  pairing_id uuid constraint outbox_pkey primary key
    constraint outbox_pairing_id_fkey references pairings (id) on delete cascade,
  cpo_id uuid not null,
  payload_protocol text not null,
  uid text not null,
  created_at timestamptz(3) not null default now(),
  attempts integer not null default 0,
  next_attempt_at timestamptz(3) not null default now(),
  last_error text,
  gave_up_at timestamptz(3)
);

-- Codes of a CPO that a user has typed: those that were wrong, and those that are being asked for.
create table redemptions (
  id uuid constraint redemptions_pkey primary key,
  user_id text not null,
  tried_at timestamptz(3) not null default now()
);
create index redemptions_user_idx on redemptions (user_id, tried_at);
`;

const DOWN = `
drop table redemptions, outbox;
drop index pairings_user_idx;
drop index pairing_codes_user_idx;
drop index pairings_active_user_idx;
delete from pairings where user_id is null or station_uid is null;
delete from pairing_codes where user_id is null;
alter table pairing_codes alter user_id set not null, alter charging_location_id set not null;
alter table pairings
  drop ended_by,
  alter user_id set not null, alter charging_location_id set not null, alter station_uid set not null;
alter table cpos drop outbound_token, drop outbound_key_id;
`;

export class OtherHalf1764000000002 implements MigrationInterface {
  name = 'OtherHalf1764000000002';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
