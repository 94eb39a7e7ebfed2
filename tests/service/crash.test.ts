import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sendJson, startCpo } from '../harness/a-cpo';
import { launch } from '../harness/a-process';
import { type Harness, SECRET_KEY, startHarness } from '../harness/harness';

/** Sets up and looks on; what crashes is a process of its own on the same database. */
let observer: Harness;
let dataDir: string;
beforeAll(async () => {
  observer = await startHarness({ SANDBOX: 'true' });
  dataDir = mkdtempSync(join(tmpdir(), 'scsp-crash-'));
});
afterAll(async () => {
  await observer.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

test('kill -9 between the unpair and the answer of the CPO loses nothing: the CPO is notified after the restart', async () => {
  const start = () => launch({ DATABASE_URL: observer.databaseUrl, SANDBOX: 'true', SECRET_KEY, DATA_DIR: dataDir });
  const backend = await startCpo(observer, () => {});
  const station = {
    uid: 'Crash',
    evses: [{ evse_id: 1, connectors: [{ id: '1', power_type: 'DC', max_voltage: 1, max_amperage: 1 }] }],
  };
  await observer.pair(backend, (await observer.code()).code, station);
  // Whoever takes the job must be the process that is killed.
  await observer.stopDelivery();

  const first = start();
  const unpaired = await fetch(`${await first.url()}/v1/app/charging-stations/crash/unpair`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${observer.appToken}` },
  });
  expect(unpaired.status).toBe(200);
  await backend.asked(1);
  first.child.kill('SIGKILL');
  await first.exited;
  const { rows } = await observer.sql.query('select attempts, gave_up_at from outbox');
  expect(rows).toEqual([{ attempts: 1, gave_up_at: null }]);

  backend.answer = (res) => sendJson(res, 200, { message: 'ok' });
  // The lease of the call that died is over.
  await observer.sql.query('update outbox set leased_until = now(), next_attempt_at = now()');
  const second = start();
  await backend.asked(2);
  await second.said(/CPO notified of an unpairing/);
  expect((await observer.sql.query('select from outbox')).rowCount).toBe(0);
  expect((await observer.sql.query(`select from events where type = 'cpo.notified'`)).rowCount).toBe(1);
  second.child.kill('SIGTERM');
  expect(await second.exited).toBe(0);
  await backend.down();
});
