import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { migrate } from '../../src/db/migrate';
import { schema } from '../../src/db/schema';
import { startEmbedded } from '../../src/embedded-postgres/launcher';
import { type BehindProxy, startBehindProxy } from '../harness/behind-proxy';
import { NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { startProxy } from '../harness/tcp-proxy';
import { secondsUntil, timed } from './fault';

let { database, proxy, service, stop } = {} as BehindProxy;
let cpo: TestCpo;
beforeAll(async () => {
  ({ database, proxy, service, stop } = await startBehindProxy());
  cpo = await service.cpo();
  // Has the validators compiled.
  await askAll((await service.code()).code);
});
afterAll(() => stop());

/** Every kind of request that needs the database, at once; the seconds of the slowest. */
async function askAll(code: string) {
  const { seconds, result } = await timed(() =>
    Promise.all([
      service.pair(cpo, code),
      ...Array.from({ length: 20 }, () => service.pair(cpo, '00000000')),
      service.unpairAsCpo(cpo, 'x'),
      service.unpairAsApp('x'),
      service.followCode('01a20fc5-0b87-76dd-8821-6e0ef21bcdc4'),
      service.request('GET', '/v1/app/charging-stations?user_id=u', { token: service.appToken }),
      service.request('DELETE', '/v1/app/users/u', { token: service.appToken }),
      service.request('POST', '/v1/app/pairing-codes', {
        token: service.appToken,
        body: { user_id: 'u', charging_location_id: 'l' },
      }),
    ]),
  );
  return { seconds, statuses: [...new Set(result.map(({ status }) => status))] };
}

test('database down: an answer within 2.5 s, the first success within 1 s of its return', async () => {
  const { code } = await service.code();
  await proxy.down();
  const { seconds, statuses } = await askAll(code);
  expect(statuses).toEqual([503]);
  expect(seconds).toBeLessThan(2.5);
  await proxy.up();
  expect(await secondsUntil(async () => (await service.pair(cpo, code)).status === 200)).toBeLessThan(1);
});

test('database black-holed: every answer within 8 s, and all is well afterwards', async () => {
  const { code } = await service.code();
  proxy.swallow();
  const { seconds, statuses } = await askAll(code);
  expect(statuses).toEqual([503]);
  expect(seconds).toBeLessThan(8);
  await proxy.up();
  expect(await secondsUntil(async () => (await service.pair(cpo, code)).status === 200)).toBeLessThan(3);
});

test('database slow: each packet 100 ms late, everything still succeeds', async () => {
  const codes = await Promise.all(Array.from({ length: 20 }, () => service.code()));
  proxy.delay(100);
  const answers = await Promise.all(codes.map(({ code }) => service.pair(cpo, code)));
  proxy.delay(0);
  for (const { status } of answers) expect(status).toBe(200);
});

test('fail-over: connections are cut and go to another server, which serves at once', async () => {
  const { code } = await service.code();
  const admin = new Client(process.env.SCSP_TEST_ADMIN_URL);
  await admin.connect();
  const [from, to] = [new URL(database.url).pathname.slice(1), `failover_${process.pid}`];
  // The old primary is gone before the new one is there.
  await proxy.down();
  await secondsUntil(async () => {
    await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${from}'`);
    await admin.query(`create database ${to} template ${from}`);
    return true;
  });
  await admin.query(`alter database ${from} rename to ${from}_old`);
  await admin.query(`alter database ${to} rename to ${from}`);
  await proxy.up();
  expect(await secondsUntil(async () => (await service.pair(cpo, code)).status === 200)).toBeLessThan(2);
  await admin.query(`drop database ${from}_old with (force)`);
  await admin.end();
});

test('out of connections: 503, and well again when there are some', async () => {
  const { code } = await service.code();
  const takers: Client[] = [];
  await proxy.down();
  const take = async () => {
    const taker = new Client(process.env.SCSP_TEST_ADMIN_URL);
    taker.on('error', () => undefined);
    await taker.connect();
    takers.push(taker);
    return taker;
  };
  const first = await take();
  // A session of the service that ended later would leave its place to the service.
  const SESSIONS = `select from pg_stat_activity where datname = '${new URL(database.url).pathname.slice(1)}'`;
  await secondsUntil(async () => (await first.query(SESSIONS)).rowCount === 0);
  let isFree = true;
  while (isFree)
    isFree = await take().then(
      () => true,
      () => false,
    );
  await proxy.up();
  const { seconds, statuses } = await askAll(code);
  expect(statuses).toEqual([503]);
  expect(seconds).toBeLessThan(5);
  await Promise.all(takers.map((taker) => taker.end()));
  expect(await secondsUntil(async () => (await service.pair(cpo, code)).status === 200)).toBeLessThan(2);
});

test.each([
  ['one code', 'select from pairing_codes where id = $1 for update', (held: { codeId: string }) => held.codeId],
  [
    "one CPO's attempt counters",
    'select from cpo_tries where cpo_id = $1 for update',
    (held: { cpoId: string }) => held.cpoId,
  ],
])('%s locked elsewhere for 8 s: 20 innocent pairings all succeed at once', async (_what, lock, idOf) => {
  const other = await service.cpo();
  const held = await service.code();
  const pairAll = (codes: { code: string }[]) =>
    timed(() => Promise.all(codes.map(({ code }) => service.pair(cpo, code))));
  const twenty = () => Promise.all(Array.from({ length: 20 }, () => service.code()));
  const undisturbed = await pairAll(await twenty());
  const codes = await twenty();
  const holder = new Client(database.url);
  await holder.connect();
  await holder.query('begin');
  await holder.query(lock, [idOf({ codeId: held.id, cpoId: other.id })]);
  const victims = Array.from({ length: 20 }, () => service.pair(other, held.code));
  const { seconds, result } = await pairAll(codes);
  for (const { status } of result) expect(status).toBe(200);
  // The victims cost this machine about as much; who waits for the lock waits for 1.5 s.
  expect(seconds).toBeLessThan(3 * undisturbed.seconds + 1);
  for (const { status } of await Promise.all(victims)) expect(status).toBe(503);
  // Eight seconds long: nobody waits for it any more.
  await holder.query('select pg_sleep(4)');
  await holder.query('commit');
  await holder.end();
  expect((await service.pair(other, held.code)).status).toBe(200);
});

test('PostgreSQL restarted: the service keeps going', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-restart-'));
  chmodSync(folder, 0o711);
  const start = () =>
    startEmbedded({ dir: join(folder, 'data'), initdbOptions: ['--no-sync'], settings: { fsync: 'off' } });
  let postgres = await start();
  const before = await startProxy(postgres.url);
  await migrate(postgres.url, schema);
  const restarted = await startHarness(NO_LIMITS, { databaseUrl: before.url });
  const owner = await restarted.cpo();
  for (let round = 0; round < 3; round++) {
    const { code } = await restarted.code();
    await postgres.stop();
    expect((await restarted.pair(owner, code)).status).toBe(503);
    postgres = await start();
    before.switchTo(postgres.url);
    expect(await secondsUntil(async () => (await restarted.pair(owner, code)).status === 200)).toBeLessThan(1.5);
  }
  await restarted.stop();
  await before.stop();
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});
