import type { MigrationInterface, QueryRunner } from 'typeorm';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, because indexes of attempts are built while stations are paired. An interrupted migration is run
// again from the beginning.

const TABLES = `
-- Calls to CPOs, without uid, code, token or body. Deleted after 7 days. The foreign key takes a lock on cpos.
create table if not exists calls (
  id uuid not null,
  cpo_id uuid not null constraint calls_cpo_id_fkey references cpos on delete cascade,
  called_at timestamptz(3) not null,
  operation text not null constraint calls_operation_check check (operation in ('pair', 'unpair')),
  payload_protocol text not null,
  request_id text not null,
  status integer,
  duration_ms integer not null,
  outcome text not null,
  errors jsonb,
  constraint calls_pkey primary key (cpo_id, id)
);
create index if not exists calls_request_idx on calls (cpo_id, request_id, id);
`;

// Each ends with the id, so that a page is read in its order, however many rows match.
const INDEXES: Readonly<Record<string, string>> = {
  attempts_request_idx: 'attempts (cpo_id, request_id, id)',
  // Without those that paired: a pairing adds no entry. They are read in the order of the primary key.
  attempts_refused_idx: `attempts (cpo_id, outcome, id) where outcome <> 'paired'`,
  tokens_replaces_idx: 'tokens (replaces) where replaces is not null',
};

const DOWN = `
drop index if exists ${Object.keys(INDEXES).join(', ')};
drop table calls;
`;

export class RecordCalls1764000000016 implements MigrationInterface {
  name = 'RecordCalls1764000000016';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, TABLES);
    for (const [name, definition] of Object.entries(INDEXES)) {
      // A build that was interrupted leaves an index that is not valid.
      await runner.query(`drop index concurrently if exists ${name}`);
      await runner.query(`create index concurrently ${name} on ${definition}`);
    }
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
