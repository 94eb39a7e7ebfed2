import type { MigrationInterface, QueryRunner } from 'typeorm';
import { buildIndexes } from './build-indexes';
import { sqlFile } from './sql-file';

// Not in one transaction, because indexes of tables in use are built while requests go on. Every step can be repeated.

// Where the statistics know no row of a partial index, the planner expects to find nothing in it: it reads the whole of an index whose
// condition the statement implies, instead of one that begins with what is looked for. Then millions of rows come. So each
// condition also names the first column of its index, which only a statement that looks for it implies.
const INDEXES = {
  pairing_codes_active_hash_key: `unique index on pairing_codes (length, hash) where status = 'active' and length is not null`,
  // For deletion alone, which says that the time is finite, as every one is.
  user_code_issues_expiry_idx: `index on user_code_issues (issued_at) where issued_at > '-infinity'`,
  pairing_codes_unpaired_ended_idx: `index on pairing_codes (ended_at)
    where status in ('expired', 'cancelled') and ended_at > '-infinity'`,
  pairings_ended_by_user_idx: 'index on pairings (user_id) where ended_at is not null and user_id is not null',
  pairings_ended_by_station_idx: `index on pairings (station_uid, ended_at, paired_at)
    where ended_at is not null and station_uid is not null`,
};

const FORMER = [
  'pairing_codes_unpaired_idx',
  'pairings_ended_user_idx',
  'pairings_ended_station_idx',
  'user_code_issues_issued_idx',
  'pairing_codes_active_key',
];

// Deletes by the index of user_code_issues.
const FUNCTIONS = `drop function if exists scsp_expire_codes_v3; ${sqlFile('expire-codes-v3')}`;

export class NarrowPartialIndexes1764000000025 implements MigrationInterface {
  name = 'NarrowPartialIndexes1764000000025';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await buildIndexes(runner, INDEXES);
    await runner.query(FUNCTIONS);
    for (const former of FORMER) await runner.query(`drop index concurrently if exists ${former}`);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop function scsp_expire_codes_v3;
      create index user_code_issues_issued_idx on user_code_issues (issued_at);
      create unique index pairing_codes_active_key on pairing_codes (length, hash) where status = 'active';
      create index pairing_codes_unpaired_idx on pairing_codes (ended_at) where status in ('expired', 'cancelled');
      create index pairings_ended_user_idx on pairings (user_id) where ended_at is not null;
      create index pairings_ended_station_idx on pairings (station_uid, ended_at, paired_at) where ended_at is not null;
      drop index ${Object.keys(INDEXES).join(', ')}`);
  }
}
