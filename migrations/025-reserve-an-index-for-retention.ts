import type { MigrationInterface, QueryRunner } from 'typeorm';
import { buildIndexes } from './build-indexes';

// Not in one transaction, because indexes of a table in use are built while requests go on. Every step can be repeated.

const INDEXES = {
  // For retention alone, which says that ended_at is finite, as every ended_at is. The statements that look for the codes of a user
  // do not, so they cannot take it, whatever the statistics say.
  pairing_codes_unpaired_ended_idx: `index on pairing_codes (ended_at)
    where status in ('expired', 'cancelled') and ended_at > '-infinity'`,
};

export class ReserveAnIndexForRetention1764000000025 implements MigrationInterface {
  name = 'ReserveAnIndexForRetention1764000000025';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await buildIndexes(runner, INDEXES);
    await runner.query('drop index concurrently if exists pairing_codes_unpaired_idx');
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`create index if not exists pairing_codes_unpaired_idx on pairing_codes (ended_at)
      where status in ('expired', 'cancelled')`);
    await runner.query('drop index pairing_codes_unpaired_ended_idx');
  }
}
