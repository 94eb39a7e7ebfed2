import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, because indexes of tables in use are built while requests go on. An interrupted migration is run
// again from the beginning.

// During a rolling upgrade, 0.2.0 replicas keep inserting events under their own names and without the new columns. The
// default of `seq` gives these a place too, and scsp_publish_events_v1 renames them or leaves them out. Events of before
// have no `seq` and are never published.
const TABLES = `
create sequence if not exists events_seq;
alter table events
  -- The order of the changes: drawn after a change is won.
  add column if not exists seq bigint,
  -- The place in the feed: assigned after the commit.
  add column if not exists position bigint,
  add column if not exists published_at timestamptz(3),
  add column if not exists reason text,
  add column if not exists attempts integer,
  add column if not exists replaced_by uuid,
  add column if not exists endpoint_id uuid,
  add column if not exists failing_since timestamptz(3),
  -- Only this app sees the event; null: everyone.
  add column if not exists app_name text;
-- No earlier than the change, whose times are read from the clock too.
alter table events alter column seq set default nextval('events_seq'), alter column occurred_at set default clock_timestamp();
alter sequence events_seq owned by events.seq;

-- One row, made by the first start, which the publisher locks: the last position assigned, the last one deleted by retention, and the database that
-- assigned them (system identifier and timeline).
create table if not exists event_feed (
  only_row boolean not null default true
    constraint event_feed_pkey primary key constraint event_feed_only_row_check check (only_row),
  last_position bigint not null default 0,
  deleted_position bigint not null default 0,
  database_identity text
);

-- For the role ingest, app_name is the name of the pipeline.
alter table tokens
  drop constraint if exists tokens_role_check,
  drop constraint if exists tokens_owner_check,
  add constraint tokens_role_check check (role in ('cpo', 'app', 'ingest')),
  add constraint tokens_owner_check check ((role = 'cpo') = (cpo_id is not null) and (role <> 'cpo') = (app_name is not null));
`;

const INDEXES: Readonly<Record<string, string>> = {
  // Empty most of the time: an event leaves it when it is published.
  events_unpublished_idx: 'index on events (seq) where position is null and seq is not null',
  events_position_key: 'unique index on events (position) where position is not null',
  events_type_position_idx: 'index on events (type, position) where position is not null',
  events_refused_idx: `index on events (code_id) where type = 'pairing.refused'`,
  // Events of before, for retention.
  events_former_idx: 'index on events (id) where seq is null',
  // The intervals of a uid that have ended. Pairing adds no entry to it. Any number of intervals of no length may end when a
  // clock that was set back allows: paired_at puts the one with a length first.
  pairings_ended_station_idx: 'index on pairings (station_uid, ended_at, paired_at) where ended_at is not null',
};

const FUNCTIONS = ['pair-v2', 'redeem-v2', 'unpair-v2', 'issue-codes-v2', 'expire-codes-v2'];

const DROP_FUNCTIONS = `
drop function if exists scsp_pair_v2, scsp_redeem_v2, scsp_unpair_v2, scsp_issue_codes_v2, scsp_expire_codes_v2;
`;

const DOWN = `
${DROP_FUNCTIONS}
drop index pairings_ended_station_idx;
delete from tokens where role = 'ingest';
alter table tokens drop constraint tokens_role_check, drop constraint tokens_owner_check,
  add constraint tokens_role_check check (role in ('cpo', 'app')),
  add constraint tokens_owner_check check ((role = 'cpo') = (cpo_id is not null) and (role = 'app') = (app_name is not null));
drop table event_feed;
alter table events alter column occurred_at set default now(), drop column seq, drop column position, drop column published_at, drop column reason,
  drop column attempts, drop column replaced_by, drop column endpoint_id, drop column failing_since, drop column app_name;
`;

export class OrderEvents1764000000014 implements MigrationInterface {
  name = 'OrderEvents1764000000014';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, TABLES);
    for (const [name, definition] of Object.entries(INDEXES)) {
      // A build that was interrupted leaves an index that is not valid.
      await runner.query(`drop index concurrently if exists ${name}`);
      await runner.query(`create ${definition.replace('index on', `index concurrently ${name} on`)}`);
    }
    await runner.query([DROP_FUNCTIONS, ...FUNCTIONS.map(sqlFile)].join('\n'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
