import { randomUUID } from 'node:crypto';
import { Client, escapeIdentifier as quoted } from 'pg';
import { incompatibilityOf } from '../../src/db/require-server';
import { command } from '../harness/a-command';
import { aStation, createTestDatabase, type Harness, SECRET_KEY, startHarness } from '../harness/harness';

// Databases as others have set them up: the service works with them, or says why it does not.

const ADMIN = process.env.SCSP_TEST_ADMIN_URL ?? '';

async function query(url: string, ...statements: string[]): Promise<any[]> {
  const client = new Client(url);
  await client.connect();
  try {
    let rows: any[] = [];
    for (const statement of statements) ({ rows } = await client.query(statement));
    return rows;
  } finally {
    await client.end();
  }
}

const databases: (() => Promise<unknown>)[] = [];
const roles: string[] = [];
afterAll(async () => {
  for (const drop of databases) await drop();
  for (const role of roles) await query(ADMIN, `drop role ${role}`);
});

async function createRole(options = ''): Promise<string> {
  const role = `scsp_test_${randomUUID().replaceAll('-', '')}`;
  await query(ADMIN, `create role ${role} login ${options} password 'role'`);
  roles.push(role);
  return role;
}

/** A migrated database with these settings of its own; a statement may say `DATABASE`. */
async function migratedDatabase(...statements: string[]): Promise<string> {
  const { url, drop } = await createTestDatabase();
  databases.push(drop);
  const name = quoted(new URL(url).pathname.slice(1));
  await query(url, ...statements.map((statement) => statement.replaceAll('DATABASE', name)));
  return url;
}

/** An empty database, made with these options. */
async function emptyDatabase(options: string): Promise<string> {
  const name = `scsp_test_${randomUUID().replaceAll('-', '')}`;
  await query(ADMIN, `create database ${name} template template0 ${options}`);
  databases.push(() => query(ADMIN, `drop database ${name} with (force)`));
  return Object.assign(new URL(ADMIN), { pathname: name }).href;
}

/** Each thing that callers and operators do, once. */
async function round(service: Harness): Promise<void> {
  const settings = { DATABASE_URL: service.databaseUrl, SECRET_KEY };
  const scsp = async (...args: string[]) => {
    const { code, stdout, stderr } = await command(settings, [...args, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return JSON.parse(stdout);
  };
  const { id } = await scsp('cpo', 'add', `Station Works ${randomUUID()}`);
  const { token, expires_at } = await scsp('token', 'issue', '--cpo', id);
  service.secrets.add(token);
  const days = (Date.parse(expires_at) - Date.now()) / 86_400_000;
  expect(Math.round(days)).toBeGreaterThan(364);
  const cpo = { id, name: '', token };
  const user_id = `José \\ ${randomUUID()}`;
  const station = aStation();

  const issued = await service.code({ user_id });
  expect(Math.round((Date.parse(issued.expires_at) - Date.now()) / 1_000)).toBeGreaterThan(570);
  const followed = service.followCode(issued.id, 30);
  expect(await service.pair(cpo, issued.code, station)).toMatchObject({
    status: 200,
    body: { charging_station: station },
  });
  expect((await followed).body).toMatchObject({ status: 'used', pairing: { user_id, charging_station: station } });
  expect((await service.pair(cpo, '000000')).status).toBe(404);
  const { body } = await service.request('GET', '/v1/scsp/attempts', { token });
  expect(body.items.map(({ outcome }: { outcome: string }) => outcome)).toHaveLength(2);
  expect((await service.unpairAsCpo(cpo, station.uid)).status).toBe(200);
  const forget = () =>
    service.request('DELETE', `/v1/app/users/${encodeURIComponent(user_id)}`, { token: service.appToken });
  expect((await forget()).status).toBe(204);
  expect((await service.followCode(issued.id)).status).toBe(404);
  expect((await scsp('token', 'list')).length).toBeGreaterThan(1);
  expect((await scsp('audit', 'list')).map(({ action }: { action: string }) => action)).toContain('token.issue');
}

test('whatever formats, time zone and search_path a database has, the whole round works', async () => {
  const url = await migratedDatabase(
    "alter database DATABASE set datestyle = 'German'",
    "alter database DATABASE set intervalstyle = 'sql_standard'",
    "alter database DATABASE set timezone = 'America/St_Johns'",
    "alter database DATABASE set standard_conforming_strings = 'off'",
    "alter database DATABASE set bytea_output = 'escape'",
    "alter database DATABASE set extra_float_digits = '-15'",
    "alter database DATABASE set array_nulls = 'off'",
    "alter database DATABASE set jit = 'on'",
    "alter database DATABASE set client_min_messages = 'error'",
    "alter database DATABASE set client_encoding = 'LATIN1'",
    "alter database DATABASE set default_transaction_isolation = 'repeatable read'",
    'create schema elsewhere',
    'create table elsewhere.tokens ()',
    "alter database DATABASE set search_path = 'elsewhere'",
  );
  const service = await startHarness({}, { databaseUrl: url });
  expect(await service.db.query('show jit')).toEqual([{ jit: 'off' }]);
  await round(service);
  await service.stop();
});

test('settings that stand with the role do as little', async () => {
  const role = await createRole('superuser');
  const url = await migratedDatabase();
  const database = quoted(new URL(url).pathname.slice(1));
  await query(
    url,
    `create schema ${role}`,
    `alter role ${role} in database ${database} set datestyle = 'SQL, DMY'`,
    `alter role ${role} set bytea_output = 'escape'`,
  );
  const databaseUrl = Object.assign(new URL(url), { username: role, password: 'role' }).href;
  const service = await startHarness({}, { databaseUrl });
  await round(service);
  await service.stop();
});

test('an owner with a schema of its own name migrates into public', async () => {
  const owner = await createRole();
  const role = await createRole();
  const url = await emptyDatabase("encoding 'UTF8'");
  const name = new URL(url).pathname.slice(1);
  await query(url, `alter database ${name} owner to ${owner}`, `create schema ${owner} authorization ${owner}`);
  await query(url, `create schema ${role} authorization ${role}`);
  const as = (username: string) => Object.assign(new URL(url), { username, password: 'role' }).href;
  const settings = { DATABASE_URL: as(role), MIGRATION_DATABASE_URL: as(owner) };
  expect(await command(settings, ['migrate', '--json'])).toMatchObject({ code: 0, stderr: '' });
  expect(await command(settings, ['migrate', '--json'])).toMatchObject({ code: 0, stderr: '' });
  expect(await query(url, "select schemaname from pg_tables where tablename = 'pairing_codes'")).toEqual([
    { schemaname: 'public' },
  ]);
  const service = await startHarness({}, { databaseUrl: as(role) });
  await round(service);
  await service.stop();
});

describe('a database that the service cannot work with is refused by service and commands, and left as it is', () => {
  test.each<[string, () => Promise<string>, RegExp]>([
    [
      'in LATIN1',
      () => emptyDatabase("encoding 'LATIN1' locale_provider libc locale 'C'"),
      /^the database scsp_test_\w+ has the encoding LATIN1, but must have UTF8: /,
    ],
    [
      'that is read-only by default',
      () => migratedDatabase('alter database DATABASE set default_transaction_read_only = on'),
      /^default_transaction_read_only is on: run "alter role .* set default_transaction_read_only = off;"/,
    ],
    [
      'that runs no triggers',
      () => migratedDatabase('alter database DATABASE set session_replication_role = replica'),
      /^session_replication_role is replica, which disables triggers: run "alter role /,
    ],
    [
      'without the schema public',
      async () => {
        const url = await emptyDatabase("encoding 'UTF8'");
        await query(url, 'drop schema public');
        return url;
      },
      /^the schema public does not exist, or the role .* lacks USAGE on it: run "create schema /,
    ],
    [
      'with its tables in another schema',
      () => migratedDatabase('alter schema public rename to mine', 'create schema public'),
      /^the service's tables are in the schema mine, but must be in public: run "drop schema public; alter schema "mine" rename to public;"/,
    ],
  ])('%s', async (_what, make, words) => {
    const url = await make();
    const tables = () => query(url, 'select count(*) from pg_class where relnamespace > 16000 or relnamespace = 2200');
    const before = await tables();
    await expect(startHarness({}, { databaseUrl: url })).rejects.toThrow(words);
    for (const args of [['migrate'], ['cpo', 'list']]) {
      const { code, stdout, stderr } = await command({ DATABASE_URL: url }, args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr.replace(/^scsp: /, '')).toMatch(words);
    }
    expect(await tables()).toEqual(before);
  });

  test('and so is a PostgreSQL of another version', () => {
    const server = { encoding: 'UTF8', database: 'd', role: 'r', schema: 'public', readOnly: false };
    const refused = (version: number) =>
      incompatibilityOf({ ...server, version, replicationRole: 'origin', tableSchema: null });
    for (const version of [13, 14, 19])
      expect(refused(version)).toBe(`PostgreSQL ${version} is not supported: use 15 to 18`);
    for (const version of [15, 16, 17, 18]) expect(refused(version)).toBeUndefined();
  });
});

test('a remedy that is named for tables in another schema helps', async () => {
  const url = await migratedDatabase('alter schema public rename to mine', 'create schema public');
  const { stderr } = await command({ DATABASE_URL: url }, ['cpo', 'list']);
  await query(url, /run "(.*)"/.exec(stderr)?.[1] ?? '');
  expect((await command({ DATABASE_URL: url }, ['cpo', 'list'])).code).toBe(0);
});

test('a load of the data alone with an empty search_path, as pg_restore does it, brings every row', async () => {
  const source = await createTestDatabase();
  const from = await startHarness({}, { databaseUrl: source.url });
  await round(from);
  const { code } = await from.code();
  const cpo = await from.cpo();
  await from.pair(cpo, code);
  // From here on its rows stay as they are.
  await from.stop();
  const tables = (
    await query(
      source.url,
      `with recursive deep (oid, depth) as (
         select oid, 0 from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
         union select conrelid, depth + 1 from deep join pg_constraint on confrelid = deep.oid and contype = 'f')
       select relname from deep join pg_class using (oid)
       where relname <> 'migrations' group by relname order by max(depth), relname`,
    )
  ).map(({ relname }) => quoted(relname));
  const contents = (url: string, table: string) =>
    query(url, `select coalesce(jsonb_agg(t order by t::text), '[]') as rows from public.${table} t`);

  const to = await migratedDatabase();
  const client = new Client(to);
  await client.connect();
  await client.query("set search_path = ''");
  for (const table of tables) {
    const [{ rows }] = await contents(source.url, table);
    const insert = `insert into public.${table} select * from jsonb_populate_recordset(null::public.${table}, $1)`;
    await client.query(insert, [JSON.stringify(rows)]);
  }
  await client.end();
  for (const table of tables) expect(await contents(to, table)).toEqual(await contents(source.url, table));
  expect(tables.length).toBeGreaterThan(10);

  const restored = await startHarness({}, { databaseUrl: to });
  expect((await restored.request('GET', '/v1/scsp/me', { token: cpo.token })).status).toBe(200);
  await restored.stop();
});
