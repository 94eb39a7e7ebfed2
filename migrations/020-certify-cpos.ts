import type { MigrationInterface, QueryRunner } from 'typeorm';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, so that a lock on cpos, which the foreign keys take, is never waited for long. Every step can be repeated.
// All of it stays empty outside sandbox deployments.

const UP = `
-- Runs of the checks of CPOs' endpoints. A run whose lease has ended is interrupted, whatever its status says.
create table if not exists certification_runs (
  id uuid not null,
  cpo_id uuid not null constraint certification_runs_cpo_id_fkey references cpos (id) on delete cascade,
  status text not null default 'running'
    constraint certification_runs_status_check check (status in ('running', 'finished', 'interrupted')),
  started_at timestamptz(3) not null default now(),
  ended_at timestamptz(3),
  leased_until timestamptz(3) not null,
  done integer not null default 0,
  total integer not null,
  report jsonb,
  constraint certification_runs_pkey primary key (cpo_id, id)
);
create unique index if not exists certification_runs_running_idx on certification_runs (cpo_id) where status = 'running';

-- The latest verdict of each check of a CPO's endpoint.
create table if not exists certification_results (
  cpo_id uuid not null constraint certification_results_cpo_id_fkey references cpos (id) on delete cascade,
  check_id text not null,
  result jsonb not null,
  seen_at timestamptz(3) not null,
  constraint certification_results_pkey primary key (cpo_id, check_id)
);

-- The latest requests of each CPO, as far as the checks of its caller need them: without token, body, and codes of customers.
create table if not exists observed_requests (
  id uuid not null,
  cpo_id uuid not null constraint observed_requests_cpo_id_fkey references cpos (id) on delete cascade,
  observed_at timestamptz(3) not null,
  request jsonb not null,
  constraint observed_requests_pkey primary key (cpo_id, id)
);

alter table sandbox_limits add column if not exists run_at timestamptz[] not null default '{}';
`;

const DOWN = `
alter table sandbox_limits drop column run_at;
drop table observed_requests, certification_results, certification_runs;
`;

export class CertifyCpos1764000000020 implements MigrationInterface {
  name = 'CertifyCpos1764000000020';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
