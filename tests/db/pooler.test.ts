import { openDatabase, SERVER_TIMEOUTS } from '../../src/db/pool';
import { prepared, preparedRows } from '../../src/db/query';
import { schema } from '../../src/db/schema';
import { createTestDatabase, startHarness, type TestCpo } from '../harness/harness';
import { startProxy } from '../harness/tcp-proxy';

let database: Awaited<ReturnType<typeof createTestDatabase>>;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

/** Starts as on a pooler that leads to the database of the tests itself. */
const startPooled = (DATABASE_DIRECT_URL: string) =>
  startHarness({ DATABASE_DIRECT_URL }, { databaseUrl: database.url });
const otherWay = () => `${database.url}?application_name=direct`;

async function withDatabase(work: (db: Awaited<ReturnType<typeof openDatabase>>) => Promise<unknown>) {
  const db = await openDatabase(database.url, schema, 1);
  await work(db).finally(() => db.destroy());
}

test('time-outs that neither the pooler passes on nor the role has are reported, each with what to do', () =>
  expect(startPooled(otherWay())).rejects.toThrow(
    new RegExp(
      '^time-outs are not in force, because a pooler drops them: set DATABASE_DIRECT_URL, run ' +
        'alter role "\\w+" set idle_in_transaction_session_timeout = 5000; ' +
        'alter role "\\w+" set lock_timeout = 1500; ' +
        'alter role "\\w+" set statement_timeout = 2000; and reconnect the pooler$',
    ),
  ));

describe('with time-outs that stand in the database', () => {
  beforeEach(() =>
    withDatabase(async (db) => {
      const name = new URL(database.url).pathname.slice(1);
      for (const [setting, ms] of Object.entries(SERVER_TIMEOUTS))
        await db.query(`alter database ${name} set ${setting} = ${ms}`);
    }),
  );

  test('the service starts, and pairs', async () => {
    const service = await startPooled(otherWay());
    const { code } = await service.code();
    expect((await service.pair(await service.cpo(), code)).status).toBe(200);
    await service.stop();
  });

  test('formats that the pooler passes none of on are refused, with what to do', async () => {
    const name = new URL(database.url).pathname.slice(1);
    await withDatabase((db) => db.query(`alter database ${name} set datestyle = 'German'`));
    await expect(startPooled(otherWay())).rejects.toThrow(
      new RegExp(
        "^the database or the role has incompatible settings, and a pooler drops the service's own: run " +
          `alter role "\\w+" in database "${name}" set DateStyle = ISO; and reconnect the pooler$`,
      ),
    );
  });

  test('a DATABASE_DIRECT_URL that leads to another database is noticed', async () => {
    const other = await createTestDatabase();
    await expect(startPooled(other.url)).rejects.toThrow(
      'notifications do not arrive: DATABASE_DIRECT_URL must point to the database of DATABASE_URL, bypassing any pooler',
    );
    await other.drop();
  });

  test('while the direct way alone is broken, codes pair and what is revoked is refused at once', async () => {
    const first = await startPooled(otherWay());
    const cpos = [await first.cpo(), await first.cpo()] as const;
    const proxy = await startProxy(database.url);
    // It has both tokens in memory from its start on.
    const disconnected = await startPooled(proxy.url);
    await proxy.down();
    await disconnected.log.waitFor(({ message }) => message.startsWith('notifications lost'));
    await first.sql.query('update tokens set revoked_at = now() where cpo_id = $1', [cpos[0].id]);
    const statusOf = async ({ token }: TestCpo) => (await disconnected.request('GET', '/v1/scsp/me', { token })).status;
    expect(await Promise.all(cpos.map(statusOf))).toEqual([401, 200]);
    expect((await disconnected.pair(cpos[1], (await disconnected.code()).code)).status).toBe(200);
    await proxy.up();
    await disconnected.stop();
    await first.stop();
    await proxy.stop();
  });
});

test.each([
  ['is not known there', (name: string) => `deallocate "${name}"`],
  ['is known there already', (name: string) => `prepare "${name}" as select 1`],
])('a prepared statement whose name %s is run without one', async (_what, misplace) =>
  withDatabase(async (db) => {
    const statement = prepared('one', 'select $1::int as one');
    if (misplace(statement.name).startsWith('deallocate')) await preparedRows(db, statement, [1]);
    await db.query(misplace(statement.name));
    for (const one of [2, 3]) expect(await preparedRows(db, statement, [one])).toEqual([{ one }]);
  }),
);
