import type { MigrationInterface, QueryRunner } from 'typeorm';
import { sqlFile } from './sql-file';

// The version before is dropped: no release calls it, and both together would take each other's identity for a restore.
const UP = `
drop function scsp_publish_events_v1;
update event_feed set database_identity = database_identity || ' ' || tableoid;
`;

const DOWN = `
drop function scsp_publish_events_v2;
update event_feed set database_identity = regexp_replace(database_identity, ' [0-9]+$', '');
`;

export class NoticeRestoredTables1764000000018 implements MigrationInterface {
  name = 'NoticeRestoredTables1764000000018';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
    await runner.query(sqlFile('publish-events-v2'));
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
    await runner.query(sqlFile('publish-events-v1'));
  }
}
