import { randomUUID } from 'node:crypto';
import { Client, type ClientConfig, escapeIdentifier as quoted } from 'pg';
import type { QueryRunner } from 'typeorm';
import { TABLE_RIGHTS } from '../../src/db/grants';
import { migrate as runMigrations } from '../../src/db/migrate';
import { schema } from '../../src/db/schema';
import { uuidAt } from '../../src/db/uuid-at';
import { runRetention } from '../../src/retention/retention';
import { command } from '../harness/a-command';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { aStation, createTestDatabase, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

const ADMIN = process.env.SCSP_TEST_ADMIN_URL ?? '';

/** A URL of the tests' PostgreSQL with another role or database. */
function signedIn(base: string, changes: Partial<Pick<URL, 'username' | 'password' | 'pathname'>>): string {
  return Object.assign(new URL(base), changes).href;
}

async function query(url: string, sql: string, parameters: unknown[] = []): Promise<any[]> {
  const client = new Client(url);
  await client.connect();
  return (await client.query(sql, parameters).finally(() => client.end())).rows;
}

/** The SQLSTATE that a statement is refused with. */
const refused = (url: string, sql: string) =>
  query(url, sql).then(
    () => 'not at all',
    (error) => error.code,
  );

const NO_RIGHT = '42501';

/** An empty database that belongs to one role, and another role that may do nothing yet. */
async function twoRoles() {
  const id = randomUUID().replaceAll('-', '').slice(0, 12);
  // Names that have to be quoted.
  const [owner, role, database] = [`scsp-owner ${id}`, `scsp "service" ${id}`, `scsp_test_${id}`];
  await query(ADMIN, `create role ${quoted(owner)} login password 'owner'`);
  await query(ADMIN, `create role ${quoted(role)} login password 'service'`);
  await query(ADMIN, `create database ${database} owner ${quoted(owner)}`);
  const url = (username: string, password: string) => signedIn(ADMIN, { username, password, pathname: database });
  return {
    role,
    url: url(role, 'service'),
    ownerUrl: url(owner, 'owner'),
    adminUrl: signedIn(ADMIN, { pathname: database }),
    async drop() {
      await query(ADMIN, `drop database ${database} with (force)`);
      for (const name of [role, owner]) await query(ADMIN, `drop role ${quoted(name)}`);
    },
  };
}

let roles: Awaited<ReturnType<typeof twoRoles>>;
let service: Harness;
const migrate = (settings: Record<string, string> = {}) =>
  command({ DATABASE_URL: roles.url, MIGRATION_DATABASE_URL: roles.ownerUrl, SANDBOX: 'true', ...settings }, [
    'migrate',
    '--json',
  ]);

beforeAll(async () => {
  roles = await twoRoles();
  // As in a database from before PostgreSQL 15, and one that not everybody may enter.
  await query(roles.adminUrl, 'grant create on schema public to public');
  await query(roles.adminUrl, `revoke connect on database ${quoted(new URL(roles.url).pathname.slice(1))} from public`);
  expect(await migrate()).toEqual({
    code: 0,
    stdout: `${JSON.stringify({ migrated: schema.migrations.length, granted_to: roles.role })}\n`,
    stderr: '',
  });
  service = await startHarness({ SANDBOX: 'true' }, { databaseUrl: roles.url });
});
afterAll(async () => {
  await service?.stop();
  await roles?.drop();
});

test('the role of the service may use a sequence while the migrations that create it are still running', async () => {
  const fresh = await twoRoles();
  let used: unknown;
  class Last1999999999999 {
    async up(runner: QueryRunner) {
      // As in migration 014: committed before the rest of the migrations.
      await runner.query('create sequence used_at_once');
      used = await query(fresh.url, `select nextval('used_at_once')`).catch((error) => error.message);
    }
    async down() {}
    transaction = false;
  }
  const migrations = [...schema.migrations, Last1999999999999];
  await runMigrations(fresh.ownerUrl, { ...schema, migrations }, { serviceRole: fresh.role });
  expect(used).toEqual([{ nextval: '1' }]);
  await fresh.drop();
});

describe('the role of the service', () => {
  test('lives the whole life', async () => {
    const cpo = await startCpo(service, (res, { path }) =>
      path.endsWith('/unpair') ? sendJson(res, 200, { message: 'ok' }) : answerStation()(res, { path } as never),
    );
    const { code } = await service.code();
    const station = aStation();
    const paired = await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
      token: cpo.token,
      headers: { 'Idempotency-Key': randomUUID() },
      body: { code, charging_station: station },
    });
    expect(paired.status).toBe(200);
    expect((await service.pair(cpo, '000000')).status).toBe(404);
    expect((await service.redeem(cpo, '123456')).status).toBe(201);

    expect((await service.unpairAsApp(station.uid)).status).toBe(200);
    await service.log.waitFor(({ outcome }) => outcome === 'delivered');
    const user_id = randomUUID();
    const again = await service.code({ user_id });
    expect((await service.pair(cpo, again.code, station)).status).toBe(200);
    expect((await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken })).status).toBe(204);
    await cpo.asked(3);

    const cancelled = await service.code();
    const cancel = await service.request('DELETE', `/v1/app/pairing-codes/${cancelled.id}`, {
      token: service.appToken,
    });
    expect(cancel.status).toBe(204);
    const me = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
    expect(me.body.limits[1].left).toBe(me.body.limits[1].limit - 1);
    await cpo.down();
  });

  test('serves the commands', async () => {
    const settings = { DATABASE_URL: roles.url, SECRET_KEY, SANDBOX: 'true' };
    const json = async (args: string[], input: string[] = []) => {
      const { code, stdout, stderr } = await command(settings, [...args, '--json'], input);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return JSON.parse(stdout);
    };
    const { id } = await json(
      ['cpo', 'add', `CPO ${randomUUID()}`, '--base-url', 'https://cpo.example', '--outbound-token-stdin'],
      ['outbound'],
    );
    const issued = await json(['token', 'issue', '--cpo', id]);
    expect((await service.request('GET', '/v1/scsp/me', { token: issued.token })).status).toBe(200);
    await json(['token', 'revoke', issued.id]);
    await json(['cpo', 'suspend', id]);
    await json(['code', 'issue', '--user', 'u', '--location', 'l']);
    for (const noun of ['cpo', 'token', 'station', 'outbox']) await json([noun, 'list']);
  });

  test('sees the status, and that standbys are not visible to it', async () => {
    await untilSo(async () => (await query(roles.adminUrl, 'select from replicas')).length > 0);
    const settings = { DATABASE_URL: roles.url, SECRET_KEY, SANDBOX: 'true' };
    const database = async () => JSON.parse((await command(settings, ['status', '--json'])).stdout).database;
    expect(await database()).toMatchObject({ role: 'primary', standbys: 0, synchronous_standbys: 0 });
    // Whether it is a standby is hidden from most roles.
    const sender = new Client({ connectionString: roles.adminUrl, replication: 'true' } as ClientConfig);
    await sender.connect();
    try {
      expect(await database()).not.toHaveProperty('standbys');
      const { stdout, stderr } = await command(settings, ['status']);
      expect(stdout).toMatch(/^replication +not visible to this role$/m);
      expect(stderr).toBe('');
    } finally {
      await sender.end();
    }
  });

  test('deletes what is old', async () => {
    const cpo = await service.cpo();
    const sql = `
      insert into attempts (id, cpo_id, attempted_at, request_id, payload_protocol, outcome)
        values (${uuidAt("now() - interval '1 year'")}, '${cpo.id}', now() - interval '1 year', 'r', 'ocpp1.6', 'paired');
      insert into idempotency_keys (cpo_id, path, key, body_hash, created_at, lease_until, request_id)
        values ('${cpo.id}', '/', 'k', '\\x00', now() - interval '1 year', now(), 'r');
      insert into redemptions (id, user_id, tried_at) values (gen_random_uuid(), 'u', now() - interval '1 year');
      insert into redemption_attempts (id, user_hash, began_at) values (gen_random_uuid(), '\\x00', now() - interval '1 year');
      insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, expires_at, ended_at)
        values (gen_random_uuid(), '\\x00', 6, 'u', 'old', 'expired', now() - interval '1 year', now() - interval '1 year');
      insert into pairings (id, cpo_id, ended_at) values (gen_random_uuid(), '${cpo.id}', now() - interval '3 years')`;
    await query(roles.ownerUrl, sql);
    await runRetention({ ...service, log: service.log.log, stopping: new AbortController().signal });
    for (const what of [
      'attempts',
      'idempotency keys',
      'redemptions',
      'redemption attempts',
      'unpaired codes',
      'ended pairings',
    ])
      await service.log.waitFor(({ message }) => message === `old ${what} removed`);
  });

  test('removes no pairing that lasts or has just ended', async () => {
    const ids = [randomUUID(), randomUUID()];
    await query(
      roles.ownerUrl,
      `insert into pairings (id, cpo_id, ended_at)
       select id, gen_random_uuid(), case when n = 2 then now() - interval '6 days' end
       from unnest($1::uuid[]) with ordinality t (id, n)`,
      [ids],
    );
    expect(await query(roles.url, 'select scsp_remove_pairings_v1($1) as removed', [ids])).toEqual([{ removed: 0 }]);
    await query(roles.ownerUrl, 'delete from pairings where id = any ($1)', [ids]);
  });

  test.each([
    ['create', 'create table t (a int)'],
    ['create', 'create schema s'],
    ['create', `create function f() returns int language sql as 'select 1'`],
    ['create', 'create role r'],
    ['alter', 'alter table cpos add a int'],
    ['alter', 'alter table audit disable trigger audit_append_only'],
    ['alter', 'alter function scsp_add(integer[], integer) rename to scsp_sub'],
    ['drop', 'drop table events'],
    ['drop', 'drop function scsp_cpo_added() cascade'],
    ['drop', 'drop trigger audit_append_only on audit'],
    ...['audit', 'events', 'pairings', 'attempts'].map((table) => ['truncate', `truncate ${table} cascade`]),
    ...['audit', 'event_feed', 'pairings', 'tokens', 'cpos', 'migrations'].map((table) => [
      'delete',
      `delete from ${table}`,
    ]),
    ['update', `update audit set actor = ''`],
    ['insert', 'insert into event_feed default values'],
    ['update', 'update stations set uid = uid'],
    ['insert', `insert into migrations (timestamp, name) values (1, 'x')`],
    ['run programs', `copy cpos to program 'true'`],
  ])('cannot %s: %s', async (_what, sql) => expect(await refused(roles.url, sql)).toBe(NO_RIGHT));

  test('owns nothing, and has those rights on tables that are listed', async () => {
    const owned = await query(
      roles.adminUrl,
      `select classid::regclass, objid from pg_shdepend d join pg_roles r on r.oid = d.refobjid where rolname = $1 and deptype = 'o'`,
      [roles.role],
    );
    expect(owned).toEqual([]);
    const granted = await query(
      roles.adminUrl,
      `select table_name as table, string_agg(lower(privilege_type), ', ' order by privilege_type) as rights
       from information_schema.role_table_grants where grantee = $1 and table_schema = 'public' group by 1`,
      [roles.role],
    );
    const sorted = (rights: string) => rights.split(', ').sort().join(', ');
    expect(Object.fromEntries(granted.map(({ table, rights }) => [table, rights]))).toEqual(
      Object.fromEntries(Object.entries(TABLE_RIGHTS).map(([table, rights]) => [table, sorted(rights)])),
    );
  });

  test('has rights on every table that there is', () =>
    expect(Object.keys(TABLE_RIGHTS).sort()).toEqual(
      ['migrations', ...schema.entities.map(({ options }) => options.name)].sort(),
    ));
});

describe('scsp migrate', () => {
  test('does it again without a change, and takes away what is too much', async () => {
    await query(roles.ownerUrl, `grant all on audit to ${quoted(roles.role)}`);
    expect(await refused(roles.url, 'delete from audit where false')).not.toBe(NO_RIGHT);
    expect(JSON.parse((await migrate()).stdout)).toEqual({ migrated: 0, granted_to: roles.role });
    expect(await refused(roles.url, 'delete from audit where false')).toBe(NO_RIGHT);
    expect((await service.code()).status).toBe('active');
  });

  test('refuses a role that could do as the owner does', async () => {
    for (const DATABASE_URL of [roles.ownerUrl, roles.adminUrl]) {
      const { code, stderr } = await migrate({ DATABASE_URL });
      expect(code).toBe(1);
      expect(JSON.parse(stderr).message).toMatch(/^the role .* use a less privileged role$/);
    }
  });

  test('refuses a role that may create tables by a right of its own', async () => {
    await query(roles.adminUrl, `grant create on schema public to ${quoted(roles.role)}`);
    const { code, stderr } = await migrate();
    expect([code, JSON.parse(stderr)]).toEqual([
      1,
      { message: `the role ${roles.role} of DATABASE_URL has the privilege CREATE on the schema public: revoke it` },
    ]);
    await query(roles.adminUrl, `revoke create on schema public from ${quoted(roles.role)}`);
  });

  test('refuses a role that does not exist', async () => {
    const { code, stderr } = await migrate({ DATABASE_URL: signedIn(roles.url, { username: 'nobody' }) });
    expect([code, JSON.parse(stderr)]).toEqual([
      1,
      { message: 'the database rejected the statement: role "nobody" does not exist' },
    ]);
  });
});

describe('the service', () => {
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  beforeEach(async () => {
    database = await createTestDatabase();
  });
  afterEach(() => database.drop());

  const BEHIND = 'the database has not been migrated to this version: run scsp migrate';
  const MIGRATIONS = 'select count(*)::int as count from migrations';

  test('refuses to start where migrations are missing and another role runs them, whatever its own may do', async () => {
    await query(database.url, 'delete from migrations where id = (select max(id) from migrations)');
    const [before] = await query(database.url, MIGRATIONS);
    const start = startHarness({ MIGRATION_DATABASE_URL: database.url }, { databaseUrl: database.url });
    await expect(start).rejects.toMatchObject({ message: BEHIND });
    expect(await query(database.url, MIGRATIONS)).toEqual([before]);
  });

  test('starts where nothing is missing and another role migrates', async () => {
    const started = await startHarness(
      { SANDBOX: 'true', MIGRATION_DATABASE_URL: 'postgres://owner@127.0.0.1:1/none' },
      { databaseUrl: roles.url },
    );
    await started.stop();
  });

  test('says what to do when its role may not run what is missing', async () => {
    const [{ name }] = await query(
      roles.ownerUrl,
      'delete from migrations where id = (select max(id) from migrations) returning name',
    );
    const start = startHarness({ SANDBOX: 'true' }, { databaseUrl: roles.url });
    await expect(start).rejects.toMatchObject({
      message: `${BEHIND} with MIGRATION_DATABASE_URL set to the owner of the tables`,
    });
    await query(roles.ownerUrl, 'insert into migrations (timestamp, name) values (1, $1)', [name]);
  });
});
