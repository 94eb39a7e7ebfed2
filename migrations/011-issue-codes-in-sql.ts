import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Not in one transaction: a day's codes are counted while new ones are issued. An interrupted migration is run again
// from the beginning.

// During a rolling upgrade, 0.1 replicas keep inserting into pairing_codes. The trigger counts their codes and records
// until when codes without neighbour keys may be active. Until then, new codes are compared with them in the same way
// as 0.1 does.
const TABLES = `
drop trigger if exists pairing_codes_counted on pairing_codes;
drop function if exists scsp_issue_codes_v1, scsp_count_issued_codes_v1, scsp_expire_codes_v1;
drop table if exists code_neighbours, code_neighbours_missing, issued_code_counts, active_code_counts, user_code_issues;

-- Keyed hashes of an active code and of each string without one of its digits: two codes within one edit share one. Without a
-- foreign key, whose check would cost more than the insert. Deleted once the code has expired.
create table code_neighbours (
  key bigint not null,
  code_id uuid not null,
  expires_at timestamptz(3) not null,
  constraint code_neighbours_pkey primary key (key, code_id)
);
create index code_neighbours_expires_idx on code_neighbours (expires_at);

-- The time until which codes without rows in code_neighbours may be active, because a 0.1 replica has issued them.
create table code_neighbours_missing (
  only_row boolean not null default true
    constraint code_neighbours_missing_pkey primary key constraint code_neighbours_missing_only_row_check check (only_row),
  until timestamptz(3) not null
);

-- Number of values issued per hour (since the epoch). Values of the last 24 hours cannot be issued again.
create table issued_code_counts (
  length smallint not null,
  hour integer not null,
  issued integer not null,
  constraint issued_code_counts_pkey primary key (length, hour)
);

-- Upper bound of the active codes. Codes that end are not subtracted, so that pairing does not wait for a lock on this row.
create table active_code_counts (
  length smallint constraint active_code_counts_pkey primary key,
  active integer not null,
  counted_at timestamptz
);

-- Codes issued to a user in the last ten minutes. Stores a keyed hash of the user, so that the limit survives an erasure.
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

// Codes inserted between creating the trigger and this are counted twice: a safe error that disappears after a day.
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
