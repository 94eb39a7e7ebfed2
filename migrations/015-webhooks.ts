import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';

const UP = `
create table webhook_endpoints (
  id uuid constraint webhook_endpoints_pkey primary key,
  app_name text not null,
  url text not null,
  -- Null: every type.
  types text[],
  description text,
  status text not null default 'enabled' constraint webhook_endpoints_status_check check (status in ('enabled', 'disabled')),
  disabled_reason text,
  created_at timestamptz(3) not null default now(),
  -- Failures since the last success, the time of the first of them, and when the app was told that it will be disabled.
  failures integer not null default 0,
  failing_since timestamptz(3),
  announced_at timestamptz(3),
  last_success_at timestamptz(3),
  -- While it is disabled: the last position before.
  disabled_after bigint,
  -- A redelivery in progress: the events after redeliver_after up to redeliver_until that happened since redeliver_since.
  redeliver_after bigint,
  redeliver_until bigint,
  redeliver_since timestamptz(3),
  -- A deleted endpoint stays until retention has deleted its deliveries.
  deleted_at timestamptz(3)
);
create index webhook_endpoints_app_idx on webhook_endpoints (app_name, id) where deleted_at is null;

-- Encrypted like the tokens of CPOs.
create table webhook_secrets (
  id uuid constraint webhook_secrets_pkey primary key,
  endpoint_id uuid not null constraint webhook_secrets_endpoint_id_fkey references webhook_endpoints on delete cascade,
  secret bytea not null,
  key_id text not null,
  created_at timestamptz(3) not null default now(),
  -- Null: the newest one.
  expires_at timestamptz(3)
);
create index webhook_secrets_endpoint_idx on webhook_secrets (endpoint_id);

-- Without a foreign key, whose check would cost more than the insert.
create table webhook_deliveries (
  endpoint_id uuid not null,
  -- The event's place in the feed.
  position bigint not null,
  status text not null default 'pending'
    -- skipped: it was pending when the endpoint was disabled.
    constraint webhook_deliveries_status_check check (status in ('pending', 'delivered', 'failed', 'skipped')),
  attempts integer not null default 0,
  next_attempt_at timestamptz(3) not null default now(),
  leased_until timestamptz(3),
  last_status integer,
  last_duration_ms integer,
  last_error text,
  constraint webhook_deliveries_pkey primary key (endpoint_id, position)
);
create index webhook_deliveries_due_idx on webhook_deliveries (endpoint_id, next_attempt_at) where status = 'pending';
create index webhook_deliveries_undelivered_idx on webhook_deliveries (endpoint_id, position) where status in ('failed', 'skipped');
create index webhook_deliveries_leased_idx on webhook_deliveries (endpoint_id) where leased_until is not null;

-- The events that an endpoint missed while it was disabled: those after after_position up to until_position.
create table webhook_gaps (
  endpoint_id uuid not null constraint webhook_gaps_endpoint_id_fkey references webhook_endpoints on delete cascade,
  after_position bigint not null,
  until_position bigint not null,
  constraint webhook_gaps_pkey primary key (endpoint_id, after_position)
);

-- When endpoints of an app were tested, and enabled or disabled, within the last minute.
create table webhook_limits (
  app_name text constraint webhook_limits_pkey primary key,
  tested_at timestamptz[] not null default '{}',
  changed_at timestamptz[] not null default '{}'
);
`;

const DOWN = `
drop function scsp_publish_events_v1;
drop table webhook_limits, webhook_gaps, webhook_deliveries, webhook_secrets, webhook_endpoints;
`;

export class Webhooks1764000000015 implements MigrationInterface {
  name = 'Webhooks1764000000015';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
    await runner.query(sqlFile('publish-events-v1'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
