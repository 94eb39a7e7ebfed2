import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';
import { withShortLocks } from './with-short-locks';

// Not in one transaction, so that the lock on events is waited for in short attempts. Every step can be repeated.

// The trace of the request that caused the event (W3C Trace Context), for its deliveries. Null in events of former versions, and in
// those that no request caused.
const COLUMN = 'alter table events add column if not exists traceparent text';

const FUNCTIONS = ['store-stations-v2', 'pair-v3', 'redeem-v3', 'unpair-v3', 'issue-codes-v3'];

const DROP_FUNCTIONS = `
drop function if exists scsp_pair_v3, scsp_redeem_v3, scsp_unpair_v3, scsp_issue_codes_v3, scsp_store_stations_v2;
`;

export class TraceEvents1764000000023 implements MigrationInterface {
  name = 'TraceEvents1764000000023';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await withShortLocks(runner, COLUMN);
    await runner.query([DROP_FUNCTIONS, ...FUNCTIONS.map(sqlFile)].join('\n'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`${DROP_FUNCTIONS} alter table events drop column traceparent`);
  }
}
