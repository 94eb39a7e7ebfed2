import type { MigrationInterface, QueryRunner } from 'typeorm';

// Codes that have paired stay for ever: what is removed must be found without reading them.
const UP = `
create index pairing_codes_unpaired_idx on pairing_codes (ended_at) where status in ('expired', 'cancelled');
`;

const DOWN = `
drop index pairing_codes_unpaired_idx;
`;

export class Housekeeping1764000000004 implements MigrationInterface {
  name = 'Housekeeping1764000000004';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
