import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';

export class ClaimDeliveriesInSql1764000000017 implements MigrationInterface {
  name = 'ClaimDeliveriesInSql1764000000017';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(sqlFile('claim-deliveries-v1'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop function scsp_claim_deliveries_v1');
  }
}
