import type { MigrationInterface, QueryRunner } from 'typeorm';

const UP = `
-- One row a CPO, locked by whoever tries its codes: what is left to it is counted under that lock.
-- Incorrect codes of the last ten minutes one by one; those of the day and the successes in buckets, the newest first.
create table cpo_tries (
  cpo_id uuid constraint cpo_tries_pkey primary key
    constraint cpo_tries_cpo_id_fkey references cpos (id) on delete cascade,
  wrong_at timestamptz[] not null default '{}',
  wrong_uid text[] not null default '{}',
  minute bigint not null default 0,
  right_by_minute integer[] not null default '{}',
  half_hour bigint not null default 0,
  wrong_by_half_hour integer[] not null default '{}',
  right_by_half_hour integer[] not null default '{}'
) with (fillfactor = 50);
insert into cpo_tries (cpo_id) select id from cpos;

create function scsp_cpo_added() returns trigger language plpgsql as $$
begin
  insert into cpo_tries (cpo_id) values (new.id);
  return null;
end $$;
create trigger cpo_added after insert on cpos for each row execute function scsp_cpo_added();

-- Buckets, the newest first, moved on by so many steps and cut to a size.
create function scsp_roll(buckets integer[], steps bigint, size integer) returns integer[]
language sql immutable parallel safe as $$
  select (array_fill(0, array[least(greatest(steps, 0), size)::int]) || buckets || array_fill(0, array[size]))[1:size]
$$;

-- The sum of the buckets that are younger than a size, when the newest is so many steps old.
create function scsp_recent(buckets integer[], steps bigint, size integer) returns integer
language sql immutable parallel safe as $$
  select coalesce(sum(b), 0)::int from unnest(buckets[1:greatest(0, size - greatest(steps, 0))::int]) b
$$;

-- Buckets with so many more in the newest.
create function scsp_add(buckets integer[], more integer) returns integer[]
language sql immutable parallel safe as $$
  select array[buckets[1] + more] || buckets[2:]
$$;

-- Every request to pair that was understood, and what became of it.
create table attempts (
  id uuid not null,
  cpo_id uuid not null,
  attempted_at timestamptz(3) not null default now(),
  request_id text not null,
  payload_protocol text not null,
  uid text,
  outcome text not null,
  detail text,
  constraint attempts_pkey primary key (cpo_id, id)
);
create index attempts_uid_idx on attempts (lower(uid));

-- Answers to be given again to the same Idempotency-Key; outcome is null while the request is in flight.
create table idempotency_keys (
  cpo_id uuid not null,
  path text not null,
  key text not null,
  body_hash bytea not null,
  created_at timestamptz(3) not null default now(),
  lease_until timestamptz(3) not null,
  outcome text,
  request_id text not null,
  constraint idempotency_keys_pkey primary key (cpo_id, path, key)
);
create index idempotency_keys_created_idx on idempotency_keys (created_at);

alter table tokens add last_used_at timestamptz(3), add replaces uuid;
drop trigger tokens_changed on tokens;
create trigger tokens_changed after insert or delete or update of role, cpo_id, hash, expires_at, revoked_at on tokens
  for each statement execute function scsp_tokens_changed();
drop trigger cpos_changed on cpos;
create trigger cpos_changed after insert or delete or update of name, suspended_at on cpos
  for each statement execute function scsp_tokens_changed();

-- Who changed what, when; rows are never changed or removed.
create table audit (
  id uuid constraint audit_pkey primary key,
  happened_at timestamptz(3) not null default now(),
  actor text not null,
  action text not null,
  subject_id uuid not null,
  detail jsonb not null default '{}'
);
create function scsp_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the table % is append-only', tg_table_name using errcode = 'integrity_constraint_violation';
end $$;
create trigger audit_append_only before update or delete or truncate on audit
  for each statement execute function scsp_append_only();
`;

const DOWN = `
drop table audit;
drop function scsp_append_only();
drop trigger cpos_changed on cpos;
create trigger cpos_changed after insert or update or delete on cpos
  for each statement execute function scsp_tokens_changed();
drop trigger tokens_changed on tokens;
create trigger tokens_changed after insert or update or delete on tokens
  for each statement execute function scsp_tokens_changed();
alter table tokens drop last_used_at, drop replaces;
drop table idempotency_keys, attempts;
drop function scsp_add(integer[], integer);
drop function scsp_recent(integer[], bigint, integer);
drop function scsp_roll(integer[], bigint, integer);
drop trigger cpo_added on cpos;
drop function scsp_cpo_added();
drop table cpo_tries;
`;

export class NobodyGetsIn1764000000003 implements MigrationInterface {
  name = 'NobodyGetsIn1764000000003';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
