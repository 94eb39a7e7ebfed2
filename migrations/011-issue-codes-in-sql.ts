import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, because codes of a day are counted while others are issued. A migration that stopped half done is
// run again from its beginning.

// Replicas of the previous version go on inserting into pairing_codes: the trigger counts their codes, and notes until when
// codes are active without neighbour keys. Until then the function compares new codes with them as that version does.
const TABLES = `
drop trigger if exists pairing_codes_counted on pairing_codes;
drop function if exists scsp_issue_codes_v1, scsp_count_issued_codes_v1, scsp_expire_codes_v1;
drop table if exists code_neighbours, code_neighbours_missing, issued_code_counts, active_code_counts, user_code_issues;

-- Keyed hashes of an active code and of each string that leaves one of its digits out: two codes within one edit share one.
-- Without a foreign key, whose check would cost more than the insert. Deleted when the code's time is over.
create table code_neighbours (
  key bigint not null,
  code_id uuid not null,
  expires_at timestamptz(3) not null,
  constraint code_neighbours_pkey primary key (key, code_id)
);
create index code_neighbours_expires_idx on code_neighbours (expires_at);

-- Until when codes are active that have no row there, because a previous version has issued them.
create table code_neighbours_missing (
  only_row boolean not null default true
    constraint code_neighbours_missing_pkey primary key constraint code_neighbours_missing_only_row_check check (only_row),
  until timestamptz(3) not null
);

-- Values issued, by hour (of the epoch): those of the last 24 hours cannot be issued again.
create table issued_code_counts (
  length smallint not null,
  hour integer not null,
  issued integer not null,
  constraint issued_code_counts_pkey primary key (length, hour)
);

-- At least as many as are active. Codes that end are not subtracted here, so that pairing does not wait for this row.
create table active_code_counts (
  length smallint constraint active_code_counts_pkey primary key,
  active integer not null,
  counted_at timestamptz
);

-- Codes issued to a user in the last ten minutes. The user is known by a keyed hash only, so that the limit outlives an erasure.
create table user_code_issues (
  user_hash bytea not null,
  id uuid not null,
  issued_at timestamptz(3) not null default now(),
  constraint user_code_issues_pkey primary key (user_hash, id)
);
create index user_code_issues_issued_idx on user_code_issues (issued_at);
`;

const TRIGGER = `
create trigger pairing_codes_counted after insert on pairing_codes
  referencing new table as inserted for each statement execute function scsp_count_issued_codes_v1();
`;

// What is inserted between the trigger and this is counted twice, which is on the safe side and over after a day.
const COUNT = `
insert into issued_code_counts as c (length, hour, issued)
select length, floor(extract(epoch from created_at) / 3600)::int as hour, count(*)
from pairing_codes where created_at > now() - interval '25 hours' group by length, hour
on conflict on constraint issued_code_counts_pkey do update set issued = c.issued + excluded.issued;

insert into active_code_counts as c (length, active)
select length, count(*) from pairing_codes where status = 'active' group by length
on conflict on constraint active_code_counts_pkey do update set active = c.active + excluded.active;

insert into code_neighbours_missing as m (until)
select max(expires_at) from pairing_codes where status = 'active' having max(expires_at) > now()
on conflict on constraint code_neighbours_missing_pkey do update set until = greatest(m.until, excluded.until);
`;

const DOWN = `
drop trigger pairing_codes_counted on pairing_codes;
drop function scsp_issue_codes_v1, scsp_count_issued_codes_v1, scsp_expire_codes_v1;
drop table code_neighbours, code_neighbours_missing, issued_code_counts, active_code_counts, user_code_issues;
`;

export class IssueCodesInSql1764000000011 implements MigrationInterface {
  name = 'IssueCodesInSql1764000000011';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    const functions = ['issue-codes-count-v1', 'issue-codes-v1', 'expire-codes-v1'].map(sqlFile);
    await withShortLocks(runner, [TABLES, ...functions, TRIGGER].join('\n'));
    await runner.query(COUNT);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
