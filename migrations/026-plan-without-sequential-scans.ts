import type { MigrationInterface, QueryRunner } from 'typeorm';

// The other functions are declared so: their plans are kept, and may be made while the tables are still small.
const FUNCTIONS = ['scsp_redeem_v3', 'scsp_unpair_v3'];

export class PlanWithoutSequentialScans1764000000026 implements MigrationInterface {
  name = 'PlanWithoutSequentialScans1764000000026';
  async up(runner: QueryRunner): Promise<void> {
    for (const name of FUNCTIONS) await runner.query(`alter function ${name} set enable_seqscan = off`);
  }
  async down(runner: QueryRunner): Promise<void> {
    for (const name of FUNCTIONS) await runner.query(`alter function ${name} reset enable_seqscan`);
  }
}
