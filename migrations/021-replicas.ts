import type { MigrationInterface, QueryRunner } from 'typeorm';

const UP = `
-- The state of each running process of the service, written by itself every 10 s. Read by scsp status; no request needs it.
create table replicas (
  id uuid not null,
  started_at timestamptz(3) not null default now(),
  seen_at timestamptz(3) not null default now(),
  version text not null,
  node_version text not null,
  host text not null,
  state jsonb not null,
  constraint replicas_pkey primary key (id)
);
`;

export class Replicas1764000000021 implements MigrationInterface {
  name = 'Replicas1764000000021';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table replicas');
  }
}
