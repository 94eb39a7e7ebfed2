import type { MigrationInterface, QueryRunner } from 'typeorm';

const UP = `
create table cpos (
  id uuid constraint cpos_pkey primary key,
  name text not null constraint cpos_name_key unique,
  base_url text,
  created_at timestamptz(3) not null default now(),
  suspended_at timestamptz(3)
);

create table tokens (
  id uuid constraint tokens_pkey primary key,
  role text not null constraint tokens_role_check check (role in ('cpo', 'app')),
  cpo_id uuid constraint tokens_cpo_id_fkey references cpos (id),
  app_name text,
  hash bytea not null constraint tokens_hash_key unique,
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz(3) not null,
  revoked_at timestamptz(3),
  constraint tokens_owner_check
    check ((role = 'cpo') = (cpo_id is not null) and (role = 'app') = (app_name is not null))
);

-- Every replica verifies tokens from memory and reads them again when told.
create function scsp_tokens_changed() returns trigger language plpgsql as $$
begin
  notify scsp_tokens;
  return null;
end $$;
create trigger tokens_changed after insert or update or delete on tokens
  for each statement execute function scsp_tokens_changed();
create trigger cpos_changed after insert or update or delete on cpos
  for each statement execute function scsp_tokens_changed();

create table pairing_codes (
  id uuid constraint pairing_codes_pkey primary key,
  hash bytea not null,
  length smallint not null,
  user_id text not null,
  charging_location_id text not null,
  cpo_id uuid constraint pairing_codes_cpo_id_fkey references cpos (id),
  status text not null default 'active'
    constraint pairing_codes_status_check check (status in ('active', 'used', 'expired', 'cancelled')),
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz(3) not null,
  ended_at timestamptz(3)
);
create unique index pairing_codes_active_key on pairing_codes (length, hash) where status = 'active';
create unique index pairing_codes_active_user_location_key
  on pairing_codes (user_id, charging_location_id) where status = 'active';
create index pairing_codes_active_expiry_idx on pairing_codes (expires_at) where status = 'active';
create index pairing_codes_hash_idx on pairing_codes (hash);

-- station_uid is the uid folded to lower case; stations.uid is the uid as it was sent.
-- cpo_id has no foreign key: each pairing would lock its CPO's one row, and a CPO is never deleted.
create table pairings (
  id uuid constraint pairings_pkey primary key,
  code_id uuid constraint pairings_code_id_fkey references pairing_codes (id) on delete set null,
  cpo_id uuid not null,
  station_uid text not null,
  user_id text not null,
  charging_location_id text not null,
  paired_at timestamptz(3) not null default now(),
  ended_at timestamptz(3),
  constraint pairings_code_id_key unique (code_id)
);
create unique index pairings_active_station_uid_key on pairings (station_uid) where ended_at is null;

create table stations (
  pairing_id uuid constraint stations_pkey primary key
    constraint stations_pairing_id_fkey references pairings (id) on delete cascade,
  uid text not null,
  payload_protocol text not null
);

create table evses (
  pairing_id uuid not null,
  position smallint not null,
  evse_id text,
  capabilities text[],
  constraint evses_pkey primary key (pairing_id, position),
  constraint evses_pairing_id_fkey foreign key (pairing_id) references stations (pairing_id) on delete cascade
);

create table connectors (
  pairing_id uuid not null,
  evse_position smallint not null,
  position smallint not null,
  connector_id text not null,
  power_type text not null,
  max_voltage integer not null,
  max_amperage integer not null,
  standard text,
  format text,
  max_electric_power integer,
  constraint connectors_pkey primary key (pairing_id, evse_position, position),
  constraint connectors_evse_fkey foreign key (pairing_id, evse_position)
    references evses (pairing_id, position) on delete cascade
);

create table events (
  id uuid constraint events_pkey primary key,
  type text not null,
  occurred_at timestamptz(3) not null default now(),
  code_id uuid,
  pairing_id uuid,
  cpo_id uuid
);
`;

const DOWN = `
drop table events, connectors, evses, stations, pairings, pairing_codes, tokens, cpos;
drop function scsp_tokens_changed();
`;

export class Pairing1764000000001 implements MigrationInterface {
  name = 'Pairing1764000000001';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
