import { setTimeout as sleep } from 'node:timers/promises';
import type { MigrationInterface, QueryRunner } from 'typeorm';

// Not in one transaction, because an index of all pairings is built while they go on. So each step can be repeated: a
// migration that stopped half done is run again from its beginning.

const CHANGE_TABLES = `
-- Null: every protocol, because nobody has said which.
alter table cpos add column if not exists payload_protocols text[];

-- An operator ends pairings too. Rows of before keep to the old rule, so that they are checked afterwards, without a lock.
alter table pairings drop constraint if exists pairings_ended_by_check,
  add constraint pairings_ended_by_check check (ended_by in ('app', 'cpo', 'operator')) not valid;

-- What this database is for, which its first start decides: a sandbox and production never share one.
create table if not exists deployment (
  only_row boolean not null default true
    constraint deployment_pkey primary key constraint deployment_only_row_check check (only_row),
  sandbox boolean not null,
  marked_at timestamptz(3) not null default now()
);
`;

const VALIDATE = 'alter table pairings validate constraint pairings_ended_by_check';

// A CPO's stations in the order in which they were paired. The statement that pairs must find a uid by its own index,
// whatever it believes of an empty table: it says nothing of users, and cannot take this one.
const DROP_INDEX = 'drop index concurrently if exists pairings_active_cpo_idx';
const CREATE_INDEX = `
create index concurrently pairings_active_cpo_idx on pairings (cpo_id, id)
  where ended_at is null and user_id is not null`;

const DOWN = `
drop index if exists pairings_active_cpo_idx;
drop table deployment;
alter table cpos drop payload_protocols;
update pairings set ended_by = 'app' where ended_by = 'operator';
alter table pairings drop constraint pairings_ended_by_check,
  add constraint pairings_ended_by_check check (ended_by in ('app', 'cpo'));
`;

const LOCK_NOT_AVAILABLE = '55P03';
/** Whoever pairs queues behind a lock that is waited for; a backup may hold the tables for an hour. */
const LOCK_WAIT = '100ms';
const PAUSE_MS = 400;
const PATIENCE_MS = 600_000;

/** Changes tables that are in use, in one transaction, and never makes others wait for longer than `LOCK_WAIT`. */
async function changeTables(runner: QueryRunner): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(PAUSE_MS)) {
    try {
      await runner.query(`set local lock_timeout = '${LOCK_WAIT}'; ${CHANGE_TABLES}`);
      return;
    } catch (error) {
      const { code } = Object(error) as { code?: unknown };
      if (code !== LOCK_NOT_AVAILABLE || performance.now() > deadline) throw error;
    }
  }
}

export class ReconcileAndOperate1764000000010 implements MigrationInterface {
  name = 'ReconcileAndOperate1764000000010';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await changeTables(runner);
    await runner.query(VALIDATE);
    // A build that was interrupted leaves an index that is not valid.
    await runner.query(DROP_INDEX);
    await runner.query(CREATE_INDEX);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
