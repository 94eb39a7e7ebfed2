import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { Counter, Registry } from 'prom-client';
import { random } from '../../src/crypto/random';
import { Listener } from '../../src/db/listener';
import { migrate } from '../../src/db/migrate';
import { type Database, openDatabase } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { startEmbedded } from '../../src/embedded-postgres/launcher';
import { createMetrics } from '../../src/metrics/metrics';
import { Circuits } from '../../src/outbound/circuit';
import { liveReplicas } from '../../src/status/derived';
import { findingsOf } from '../../src/status/findings';
import { startHeartbeat } from '../../src/status/heartbeat';
import { readStoredState } from '../../src/status/read-stored-state';
import { RecentCounts } from '../../src/status/recent-counts';
import { command } from '../harness/a-command';
import { sendJson, startCpo } from '../harness/a-cpo';
import { createTestDatabase, type Harness, recordedLog, SECRET_KEY, startHarness } from '../harness/harness';
import { startProxy } from '../harness/tcp-proxy';
import { untilSo } from '../harness/until';

/** So often that a test need not wait, and so seldom that only a change is written within the test. */
const AT_CHANGES = { checkMs: 20, everyMs: 3_600_000 };

const states = async (client: Pick<Client, 'query'>) =>
  (await client.query('select state from replicas order by started_at')).rows.map(({ state }) => state);

describe('a service', () => {
  let service: Harness;
  beforeAll(async () => {
    service = await startHarness({ SANDBOX: 'true' }, { status: { heartbeat: AT_CHANGES } });
  });
  afterAll(() => service.stop());

  test('is seen as soon as it runs, and no more when it is stopped', async () => {
    const seen = () => states(service.sql);
    await untilSo(async () => (await seen()).length === 1);
    const other = await startHarness(
      { SANDBOX: 'true' },
      { databaseUrl: service.databaseUrl, status: { heartbeat: AT_CHANGES } },
    );
    await untilSo(async () => (await seen()).length === 2);
    await other.stop();
    expect(await seen()).toMatchObject([{ listener: { connected: true }, circuits: [], webhook_circuits: 0 }]);
  });

  test('shows that a circuit is open: in its row, in the findings and in the list of CPOs', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
    for (let user = 0; user < 10; user++)
      expect((await service.redeem(cpo, '123456', { user_id: `user-${user}` })).status).toBe(502);
    await untilSo(async () => (await states(service.sql))[0].circuits.length === 1);
    const [{ circuits }] = await states(service.sql);
    expect(circuits).toEqual([{ cpo_id: cpo.id, open_since: expect.any(String) }]);
    // The calls are stored a moment later.
    const found = async () => findingsOf(await readStoredState(service)).map(({ name }) => name);
    await untilSo(async () => String(await found()) === 'cpo-failing');
    const settings = { DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' };
    const { stdout } = await command(settings, ['cpo', 'list', '--json']);
    const listed = JSON.parse(stdout).find(({ id }: { id: string }) => id === cpo.id);
    expect(listed.circuit_open_since).toBe(circuits[0].open_since);
    expect((await command(settings, ['cpo', 'list'])).stdout).toContain(circuits[0].open_since);
    await cpo.down();
  });
});

describe('the heartbeat', () => {
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let db: Database;
  let proxy: Awaited<ReturnType<typeof startProxy>>;
  let listener: Listener;
  let reader: Client;
  const { log, lines, waitFor } = recordedLog();
  beforeEach(async () => {
    database = await createTestDatabase();
    proxy = await startProxy(database.url);
    db = await openDatabase(database.url, schema, 2);
    listener = new Listener(proxy.url, [], log);
    await listener.start();
    reader = new Client(database.url);
    await reader.connect();
  });
  afterEach(async () => {
    await reader.end();
    await listener.stop();
    await proxy.stop();
    await db.destroy();
    await database.drop();
  });
  /** A replica of its own, with circuits whose time a test decides. */
  function start(times = AT_CHANGES) {
    const killed = new AbortController();
    const clock = { now: 0 };
    const cpos = new Circuits({ circuitOpened() {}, circuitClosed() {} }, () => clock.now);
    const ctx = { db, listener, log, random, metrics: createMetrics(log), stopping: killed.signal };
    const heartbeat = startHeartbeat(ctx as never, '1.2.3', { cpos, webhooks: { openCircuits: () => 0 } }, times);
    return { ...heartbeat, kill: () => killed.abort(), clock, cpos };
  }
  const config = { limits: { cpoUid10Min: 5, cpoUid24H: 10, cpo10Min: 20, cpo24H: 50, perSuccess: 0.5 } };
  const read = () => readStoredState({ db, config: config as never }, async () => []);
  const pass = (time: string) => reader.query(`update replicas set seen_at = seen_at - interval '${time}'`);

  test('writes a circuit when it opens and when it closes, not before', async () => {
    const replica = start();
    await untilSo(async () => (await states(reader)).length === 1);
    const users = ['a', 'b', 'c', 'a', 'b', 'c', 'a', 'b', 'c', 'a'];
    for (const user of users) replica.cpos.enter('c0000000-0000-4000-8000-000000000000', user)('failed');
    await untilSo(async () => (await states(reader))[0].circuits.length === 1);
    replica.clock.now += 30_000;
    replica.cpos.enter('c0000000-0000-4000-8000-000000000000', 'a')('answered');
    await untilSo(async () => (await states(reader))[0].circuits.length === 0);
    await replica.stop();
    expect(await states(reader)).toEqual([]);
  });

  test('says that the listener has lost the database, and that it is back', async () => {
    const replica = start();
    const connected = async () => (await states(reader))[0]?.listener.connected;
    await untilSo(async () => (await connected()) === true);
    await proxy.down();
    await untilSo(async () => (await connected()) === false);
    const state = await read();
    const names = (seconds: number) =>
      findingsOf({ ...state, readAt: new Date(state.readAt.getTime() + seconds * 1_000) }).map(({ name }) => name);
    expect([names(0), names(31)]).toEqual([[], ['listener-disconnected']]);
    await proxy.up();
    await untilSo(async () => (await connected()) === true);
    expect((await states(reader))[0].listener).toEqual({ connected: true });
    await replica.stop();
  });

  test('is repeated without a change', async () => {
    const replica = start({ checkMs: 20, everyMs: 40 });
    const seenAt = async () => (await reader.query('select seen_at from replicas')).rows[0]?.seen_at?.getTime();
    await untilSo(async () => (await seenAt()) !== undefined);
    const first = await seenAt();
    await untilSo(async () => (await seenAt()) > first);
    await replica.stop();
  });

  test('of a replica that was killed ends: it is not seen after 30 s, and its row is removed after an hour', async () => {
    const killed = start();
    await untilSo(async () => (await states(reader)).length === 1);
    killed.kill();
    await pass('25 seconds');
    expect(liveReplicas(await read())).toMatchObject([{ version: '1.2.3', nodeVersion: process.versions.node }]);
    await pass('6 seconds');
    expect(liveReplicas(await read())).toEqual([]);
    expect((await read()).replicas).toHaveLength(1);
    await pass('1 hour');
    expect((await read()).replicas).toEqual([]);
    const other = start();
    await untilSo(async () => (await reader.query('select from replicas')).rowCount === 1);
    expect(liveReplicas(await read())).toHaveLength(1);
    await other.stop();
  });

  test('that cannot be written is logged once, and written as soon as it can be', async () => {
    await reader.query('alter table replicas rename to elsewhere');
    const replica = start();
    await waitFor(({ message }) => message === 'writing the state of this replica failed, retrying');
    await reader.query('alter table elsewhere rename to replicas');
    await untilSo(async () => (await states(reader)).length === 1);
    expect(lines.filter(({ message }) => message.startsWith('writing the state'))).toHaveLength(1);
    await replica.stop();
  });
});

describe('with a synchronous standby that is gone', () => {
  const dir = join(realpathSync(mkdtempSync(join(tmpdir(), 'standby-gone-'))), '.data');
  let postgres: Awaited<ReturnType<typeof startEmbedded>>;
  beforeAll(async () => {
    postgres = await startEmbedded({ dir, initdbOptions: ['--no-sync'], settings: { fsync: 'off' } });
    await migrate(postgres.url, schema, { sandbox: false });
  });
  afterAll(async () => {
    await postgres.stop();
    rmSync(join(dir, '..'), { recursive: true, force: true, maxRetries: 5 });
  });

  test('a replica is seen all the same, and a person is needed until commits do not wait any more', async () => {
    const service = await startHarness({}, { databaseUrl: postgres.url, status: { heartbeat: AT_CHANGES } });
    await untilSo(async () => (await states(service.sql)).length === 1);
    const setStandby = async (names: string) => {
      await service.sql.query(`alter system set synchronous_standby_names = '${names}'`);
      await service.sql.query('select pg_reload_conf()');
      const shown = async () => (await service.sql.query('show synchronous_standby_names')).rows[0];
      await untilSo(async () => (await shown()).synchronous_standby_names === names);
    };
    await setStandby('ANY 1 (gone)');
    await service.sql.query(`begin; set local synchronous_commit = local; delete from replicas; commit`);
    const ctx = {
      db: service.db,
      log: service.log.log,
      random,
      listener: { connected: true, now: Date.now },
      metrics: createMetrics(service.log.log),
      stopping: new AbortController().signal,
    };
    const cpos = new Circuits({ circuitOpened() {}, circuitClosed() {} });
    const other = startHeartbeat(ctx as never, '1.2.3', { cpos, webhooks: { openCircuits: () => 0 } }, AT_CHANGES);
    // It would not be seen if the commit waited for the standby.
    await untilSo(async () => (await states(service.sql)).length === 1);
    expect(findingsOf(await readStoredState(service))).toMatchObject([
      { name: 'standby-gone', severity: 'page', text: 'commits wait for 1 synchronous standby, and 0 of them stream' },
    ]);
    await other.stop();
    expect(await states(service.sql)).toEqual([]);
    await setStandby('');
    expect(findingsOf(await readStoredState(service)).map(({ name }) => name)).toEqual(['service-down']);
    await service.stop();
  });
});

test('counts of the last 5 minutes are those since then, also of a counter that comes later', async () => {
  const registry = new Registry();
  let now = 0;
  const recent = new RecentCounts(registry, 'errors_total', 'reason', () => now);
  expect(await recent.read()).toEqual({});
  const counter = new Counter({ name: 'errors_total', help: '-', labelNames: ['reason'], registers: [registry] });
  counter.inc({ reason: 'disk_full' }, 2);
  expect(await recent.read()).toEqual({ disk_full: 2 });
  now = 200_000;
  counter.inc({ reason: 'timeout' });
  expect(await recent.read()).toEqual({ disk_full: 2, timeout: 1 });
  now = 300_000;
  expect(await recent.read()).toEqual({ timeout: 1 });
  now = 500_000;
  expect(await recent.read()).toEqual({});
});
