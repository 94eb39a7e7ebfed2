import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';

// Builds between 0.1 and 0.2.0 have created these functions with other bodies.
const FUNCTIONS = [
  'counted-v1',
  'paired-users-v1',
  'failed-before-v1',
  'remaining-v1',
  'remaining-uid-v1',
  'allowance-v1',
  'retry-after-v1',
  'store-stations-v1',
  'pair-v1',
  'redeem-v1',
  'unpair-v1',
  'issue-codes-v1',
  'issue-codes-count-v1',
  'expire-codes-v1',
];

export class FunctionsOf0201764000000013 implements MigrationInterface {
  name = 'FunctionsOf0201764000000013';
  async up(runner: QueryRunner): Promise<void> {
    for (const name of FUNCTIONS)
      await runner.query(sqlFile(name).replace(/^create function/m, 'create or replace function'));
  }
  /** The functions stay: those of 011 and 012 are the same. */
  async down(): Promise<void> {}
}
