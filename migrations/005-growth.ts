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

-- To the planner every index of a few rows is as good as another, and a plan lives on while they become many. So those
-- that do not find a code or a uid by itself are said to leave out rows that there are none of.
drop index pairings_active_user_idx, pairing_codes_active_user_location_key, pairing_codes_active_expiry_idx;
create index pairings_active_user_idx on pairings (user_id, id) where ended_at is null and user_id is not null;
create unique index pairing_codes_active_user_location_key
  on pairing_codes (user_id, charging_location_id) where status = 'active' and user_id is not null;
create index pairing_codes_active_expiry_idx on pairing_codes (expires_at) where status = 'active' and ended_at is null;
`;

const DOWN = `
drop index pairings_active_user_idx, pairing_codes_active_user_location_key, pairing_codes_active_expiry_idx;
create index pairings_active_user_idx on pairings (user_id, id) where ended_at is null;
create unique index pairing_codes_active_user_location_key
  on pairing_codes (user_id, charging_location_id) where status = 'active';
create index pairing_codes_active_expiry_idx on pairing_codes (expires_at) where status = 'active';
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
