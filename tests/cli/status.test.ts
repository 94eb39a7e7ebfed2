import { createServer } from 'node:net';
import { Client } from 'pg';
import { command } from '../harness/a-command';
import { createTestDatabase, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { listenOn } from '../harness/listen';
import { untilSo } from '../harness/until';

const scsp = (databaseUrl: string, ...args: string[]) => command({ DATABASE_URL: databaseUrl, SECRET_KEY }, args);

describe('scsp status', () => {
  let service: Harness;
  beforeAll(async () => {
    service = await startHarness();
    await untilSo(async () => (await service.sql.query('select from replicas')).rowCount === 1);
  });
  afterAll(() => service.stop());

  test('shows a deployment that is well on one screen, and exits with 0', async () => {
    await service.code();
    const { code, stdout, stderr } = await scsp(service.databaseUrl, 'status');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines.length).toBeLessThan(24);
    expect(lines[0]).toMatch(/^scsp \d+\.\d+\.\d+$/);
    expect(lines.at(-1)).toBe('Nothing needs a person.');
    const shown = Object.fromEntries(lines.slice(2, -2).map((line) => line.split(/ {2,}/)));
    expect(shown).toEqual({
      database: expect.stringMatching(/^PostgreSQL [\d.]+, primary, [\d.]+ MB, \d+ of \d+ connections$/),
      replication: 'no standby',
      migrations: 'none pending',
      replicas: expect.stringMatching(/^\S+ [\d.]+ since \S+Z$/),
      listener: 'connected in 1 of 1',
      codes: '6 digits: 1 active, 2 % of the space',
      'CPOs at a limit': '10 min: none; 24 h: none',
      'CPOs suspended': 'none',
      'open circuits': 'none',
      outbox: 'none waits; 0 dead-lettered',
      events: expect.any(String),
      webhooks: '0 enabled, 0 failing, 0 disabled; none waits',
      tokens: 'none expires within 30 days',
      erasures: 'none waits',
      retention: 'nothing left',
    });
  });

  test('--json has all of it', async () => {
    const { code, stdout } = await scsp(service.databaseUrl, 'status', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      version: expect.any(String),
      migrations_pending: 0,
      findings: [],
      database: { role: 'primary', size_bytes: expect.any(Number), standbys: 0, synchronous_standbys_wanted: 0 },
      replicas: [{ alive: true, state: { listener: { connected: true }, clock_offset_seconds: expect.any(Number) } }],
      codes: [{ length: 6, active: expect.any(Number), used_ratio: expect.any(Number) }],
      cpos: { at_limit: [], suspended: [], circuits_open: [] },
      outbox: { waiting: 0, oldest_seconds: 0, dead_lettered: 0 },
      events: { unpublished: expect.any(Number), lag_seconds: expect.any(Number) },
      webhooks: { endpoints: { enabled: 0, failing: 0, disabled: 0 }, deliveries: { waiting: 0, oldest_seconds: 0 } },
      tokens_expiring: [],
      erasures: { waiting: 0, oldest_seconds: 0 },
    });
  });

  test('names finding and runbook when something needs a person, and exits with 1', async () => {
    const cpo = await service.cpo();
    await service.sql.query(
      `insert into outbox (cpo_id, payload_protocol, uid, gave_up_at) values ($1, 'ocpp1.6', 'u', now())`,
      [cpo.id],
    );
    const finding = {
      name: 'notifications-dead-lettered',
      text: '1 notification of CPOs dead-lettered',
      runbook: 'docs/runbooks/notifications-dead-lettered.md',
      severity: 'ticket',
    };
    const text = await scsp(service.databaseUrl, 'status');
    expect([text.code, text.stderr]).toEqual([1, '']);
    expect(text.stdout.trimEnd().split('\n').slice(-2)).toEqual([
      expect.stringMatching(/^SEVERITY {2}FINDING +RUNBOOK$/),
      `ticket    ${finding.text}  ${finding.runbook}`,
    ]);
    const json = await scsp(service.databaseUrl, 'status', '--json');
    expect([json.code, JSON.parse(json.stdout).findings]).toEqual([1, [finding]]);
    await service.sql.query('delete from outbox');
  });

  test('rejects wrong usage with 2', async () => {
    expect(await scsp(service.databaseUrl, 'status', 'now')).toMatchObject({ code: 2, stdout: '' });
    expect(await scsp(service.databaseUrl, 'status', '--all')).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('scsp status of a database that cannot be read', () => {
  const expectUnreachable = async (url: string, reason: string) => {
    const text = await scsp(url, 'status');
    expect([text.code, text.stderr]).toEqual([1, '']);
    expect(text.stdout).toContain(reason);
    expect(text.stdout).toContain('docs/runbooks/database-unreachable.md');
    const json = await scsp(url, 'status', '--json');
    expect([json.code, JSON.parse(json.stdout)]).toEqual([
      1,
      {
        version: expect.any(String),
        findings: [
          {
            name: 'database-unreachable',
            text: expect.stringContaining(reason),
            runbook: 'docs/runbooks/database-unreachable.md',
            severity: 'page',
          },
        ],
      },
    ]);
  };

  test('says that it refuses connections', () =>
    expectUnreachable('postgres://scsp:open-sesame@127.0.0.1:1/scsp', '127.0.0.1:1/scsp) does not answer'));

  test('says that it does not answer, within the deadline of a connection', async () => {
    const silent = createServer();
    const port = await listenOn(silent);
    await expectUnreachable(`postgres://127.0.0.1:${port}/scsp`, 'does not answer');
    silent.close();
  });

  test('says that a statement was not answered', async () => {
    const database = await createTestDatabase();
    const locker = new Client(database.url);
    await locker.connect();
    await locker.query('begin; lock table tokens in access exclusive mode');
    await expectUnreachable(database.url, 'the database does not answer');
    await locker.end();
    await database.drop();
  });

  test('asks for the migrations that are pending, and runs none', async () => {
    const database = await createTestDatabase();
    const client = new Client(database.url);
    await client.connect();
    await client.query('delete from migrations where id = (select max(id) from migrations)');
    const { code, stdout, stderr } = await scsp(database.url, 'status', '--json');
    expect([code, JSON.parse(stdout), JSON.parse(stderr)]).toEqual([
      1,
      { version: expect.any(String), migrations_pending: 1, findings: [] },
      { message: 'the database has not been migrated to this version: run scsp migrate' },
    ]);
    expect((await scsp(database.url, 'status')).stdout).toMatch(/\n\nmigrations {2}1 pending\n$/);
    await client.end();
    await database.drop();
  });
});
