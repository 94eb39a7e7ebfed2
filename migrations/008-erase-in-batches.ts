import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLE = `
-- What is left to erase of a pairing whose user was forgotten: its station, and the uid in the attempts of all CPOs.
-- A row is deleted when both are gone; it must outlive the pairing. The collation is that of the index on attempts.
create table if not exists erasures (
  pairing_id uuid constraint erasures_pkey primary key,
  station_uid text collate "C" not null,
  requested_at timestamptz(3) not null default now()
);
create index if not exists erasures_station_uid_idx on erasures (station_uid);
`;

// lower() follows the collation of its argument: in a Turkish database attempts_uid_idx finds no uid with a capital I.
// The previous version still uses that index; a later migration drops it.
const INDEX = `
create index concurrently attempts_uid_key_idx on attempts (lower(uid collate "C"), cpo_id, id)`;

const DOWN = `
drop index attempts_uid_key_idx;
drop table erasures;
`;

/** Runs without a transaction, so that the index is built while stations are paired; every step can be repeated. */
export class EraseInBatches1764000000008 implements MigrationInterface {
  name = 'EraseInBatches1764000000008';
  transaction = false;
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLE);
    // A build that was interrupted leaves an invalid index behind.
    await runner.query('drop index concurrently if exists attempts_uid_key_idx');
    await runner.query(INDEX);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
