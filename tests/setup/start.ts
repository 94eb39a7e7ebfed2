import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { migrate } from '../../src/db/migrate';
import { schema } from '../../src/db/schema';
import { type Embedded, startEmbedded } from '../../src/embedded-postgres/launcher';

declare global {
  var testDatabase: { embedded: Embedded | undefined; folder: string; template: string };
}

/** One PostgreSQL for the whole run, with a migrated template that each test file copies. */
export default async function start(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-tests-'));
  chmodSync(folder, 0o711);
  const embedded =
    process.env.TEST_DATABASE_URL === undefined
      ? await startEmbedded({
          dir: join(folder, 'data'),
          initdbOptions: ['--no-sync'],
          settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '200' },
        })
      : undefined;
  const admin = embedded?.url ?? process.env.TEST_DATABASE_URL ?? '';
  const template = `scsp_template_${process.pid}`;
  const client = new Client(admin);
  await client.connect();
  await client.query(`create database ${template}`);
  await client.end();
  const url = new URL(admin);
  url.pathname = template;
  await migrate(url.href, schema);

  process.env.SCSP_TEST_ADMIN_URL = admin;
  if (embedded !== undefined) process.env.SCSP_TEST_DATABASE_LOG = join(folder, 'data/postgres.log');
  process.env.SCSP_TEST_TEMPLATE = template;
  globalThis.testDatabase = { embedded, folder, template };
}
