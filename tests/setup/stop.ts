import { rmSync } from 'node:fs';
import { Client } from 'pg';

export default async function stop(): Promise<void> {
  const { embedded, folder, template } = globalThis.testDatabase;
  const client = new Client(process.env.SCSP_TEST_ADMIN_URL);
  await client.connect();
  await client.query(`drop database ${template} with (force)`);
  await client.end();
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}
