import { Client } from 'pg';
import { command } from '../harness/a-command';
import { createTestDatabase, SECRET_KEY, startHarness } from '../harness/harness';

let database: Awaited<ReturnType<typeof createTestDatabase>>;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const start = (SANDBOX: string, more: Record<string, string> = {}) =>
  startHarness({ SANDBOX, ...more }, { databaseUrl: database.url });
const startOnce = async (SANDBOX: string) => (await start(SANDBOX)).stop();
const scsp = (SANDBOX: string, ...args: string[]) => command({ DATABASE_URL: database.url, SECRET_KEY, SANDBOX }, args);

async function query(sql: string) {
  const client = new Client(database.url);
  await client.connect();
  return (await client.query(sql).finally(() => client.end())).rows;
}

const REFUSED = {
  true: 'SANDBOX is true, but the database is marked as production: set SANDBOX=false, or use a sandbox database (DATABASE_URL, DATA_DIR)',
  false:
    'SANDBOX is false, but the database is marked as a sandbox: set SANDBOX=true, or use a production database (DATABASE_URL, DATA_DIR)',
};

test.each([
  ['true', 'false'],
  ['false', 'true'],
] as const)(
  'a database that was first started with SANDBOX=%s refuses a service with SANDBOX=%s',
  async (first, other) => {
    await startOnce(first);
    await expect(start(other)).rejects.toThrow(REFUSED[other]);
    // A role that leaves migrating to another looks at the mark as well.
    await expect(start(other, { MIGRATION_DATABASE_URL: database.url })).rejects.toThrow(REFUSED[other]);
    await startOnce(first);
  },
);

test('a database from before the mark is marked by the first start of this version', async () => {
  expect(await query('select sandbox from deployment')).toEqual([]);
  await startOnce('false');
  expect(await query('select sandbox from deployment')).toEqual([{ sandbox: false }]);
});

test('migrating marks a database, too', async () => {
  expect((await scsp('true', 'migrate')).code).toBe(0);
  await expect(start('false')).rejects.toThrow(REFUSED.false);
});

test('a database of the other kind is refused before it is migrated', async () => {
  await startOnce('true');
  const latest = 'select name from migrations order by id desc limit 1';
  await query(`delete from migrations where name = (${latest})`);
  const before = await query(latest);
  await expect(start('false')).rejects.toThrow(REFUSED.false);
  expect(await scsp('false', 'migrate')).toMatchObject({ code: 1, stderr: `scsp: ${REFUSED.false}\n` });
  expect(await query(latest)).toEqual(before);
});

test('commands refuse a database of the other kind, and no token of production gets into a sandbox', async () => {
  await startOnce('true');
  const before = await query('select id from tokens');
  for (const args of [
    ['token', 'issue', '--app', 'app'],
    ['cpo', 'list'],
    ['code', 'issue', '--user', 'u', '--location', 'l'],
  ])
    expect(await scsp('false', ...args)).toEqual({ code: 1, stdout: '', stderr: `scsp: ${REFUSED.false}\n` });
  expect(await query('select id from tokens')).toEqual(before);
  expect((await scsp('true', 'token', 'issue', '--app', 'app')).code).toBe(0);
});
