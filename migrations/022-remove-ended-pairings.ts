import type { MigrationInterface, QueryRunner } from 'typeorm';
import { buildIndexes } from './build-indexes';
import { sqlFile } from './sql-file';

// Not in one transaction, because indexes of tables in use are built while requests go on. Every step can be repeated.

const INDEXES = {
  // What ended long ago, for retention. The statements that look for a uid or a user must not take it, whatever they believe of an
  // empty table: they do not say that ended_at is finite, as every ended_at is.
  pairings_ended_idx: `index on pairings (ended_at) where ended_at > '-infinity'`,
  // Notifications that were given up, most of the time none: they are removed, and counted without reading those that wait.
  outbox_gave_up_idx: 'index on outbox (gave_up_at) where gave_up_at is not null',
};

const DROP_FUNCTION = 'drop function if exists scsp_remove_pairings_v1;';

export class RemoveEndedPairings1764000000022 implements MigrationInterface {
  name = 'RemoveEndedPairings1764000000022';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await buildIndexes(runner, INDEXES);
    await runner.query(DROP_FUNCTION + sqlFile('remove-pairings-v1'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`${DROP_FUNCTION} drop index pairings_ended_idx, outbox_gave_up_idx`);
  }
}
