import type { MigrationInterface, QueryRunner } from 'typeorm';

// Replaces `redemptions`, which the previous version still writes during a roll-out; it goes with a later migration.
const UP = `
-- A user's redemptions of codes that CPOs issued: what is under way (outcome is null) and what became of it. The user is
-- known by a keyed hash only, so that erasing the user need not touch what counts towards the limits.
create table redemption_attempts (
  id uuid constraint redemption_attempts_pkey primary key,
  user_hash bytea not null,
  began_at timestamptz(3) not null default now(),
  outcome text
);
create index redemption_attempts_user_hash_idx on redemption_attempts (user_hash, began_at);
create index redemption_attempts_began_idx on redemption_attempts (began_at);
`;

const DOWN = `
drop table redemption_attempts;
`;

export class CountRedemptionsByKeyedHash1764000000006 implements MigrationInterface {
  name = 'CountRedemptionsByKeyedHash1764000000006';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
