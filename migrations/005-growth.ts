import type { MigrationInterface, QueryRunner } from 'typeorm';

// Users and hashes are random: among ten million each index of all of them costs a pairing a page that is in no cache.
// A user's lasting pairings and active codes have indexes of their own; codes that have paired are found by the pairing.
const UP = `
create index pairings_ended_user_idx on pairings (user_id) where ended_at is not null;
create index pairing_codes_unpaired_user_idx on pairing_codes (user_id) where status in ('expired', 'cancelled');
drop index pairings_user_idx, pairing_codes_user_idx;

-- Six digits come again and again: of a hash only what is younger than a day is looked at.
create index pairing_codes_hash_created_idx on pairing_codes (hash, created_at);
drop index pairing_codes_hash_idx;
`;

const DOWN = `
create index pairing_codes_hash_idx on pairing_codes (hash);
create index pairing_codes_user_idx on pairing_codes (user_id);
create index pairings_user_idx on pairings (user_id);
drop index pairing_codes_hash_created_idx, pairing_codes_unpaired_user_idx, pairings_ended_user_idx;
`;

export class Growth1764000000005 implements MigrationInterface {
  name = 'Growth1764000000005';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
