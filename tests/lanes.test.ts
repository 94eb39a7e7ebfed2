import { Pool } from 'pg';
import { type Database, openDatabase } from '../src/db/database';
import { Lanes, prepared } from '../src/db/lanes';
import { model } from '../src/model';
import { createTestDatabase } from './harness';

const CONNECTIONS = 2;
const PID = prepared('pid', 'select pg_backend_pid() as pid');
const TURN = prepared('turn', 'select pg_backend_pid() as pid, pg_advisory_lock_shared(1)::text');

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let db: Database;
let lanes: Lanes;
let other: Pool;
beforeEach(async () => {
  database = await createTestDatabase();
  db = await openDatabase(database.url, model, CONNECTIONS);
  lanes = new Lanes(db);
  other = new Pool({ connectionString: database.url, max: 1 });
});
afterEach(async () => {
  await db.destroy();
  await other.end();
  await database.drop();
});

/** Resolves with the process of a session that waits for a lock. */
async function waiting(): Promise<number> {
  for (;;) {
    const { rows } = await other.query(
      'select pid from pg_locks l join pg_database d on d.oid = l.database where datname = current_database() and not granted',
    );
    if (rows.length > 0) return rows[0].pid;
  }
}

test('statements of a key share a connection while there are any, those of another have their own', async () => {
  const asked = ['one', 'one', 'other'].map((key) => lanes.rows<{ pid: number }>(key, PID, []));
  const [first, second, apart] = (await Promise.all(asked)).map(([row]) => row?.pid);
  expect(second).toBe(first);
  expect(apart).not.toBe(first);
  // None is kept: more keys than connections come after one another.
  for (let key = 0; key < CONNECTIONS + 1; key++) expect(await lanes.rows(`${key}`, PID, [])).toHaveLength(1);
});

test('one that fails leaves the next alone', async () => {
  const divide = prepared('divide', 'select 6 / $1::int as result');
  const [failed, next] = await Promise.allSettled([0, 2].map((by) => lanes.rows('', divide, [by])));
  expect(failed).toMatchObject({ status: 'rejected', reason: { code: '22012' } });
  expect(next).toMatchObject({ status: 'fulfilled', value: [{ result: 3 }] });
});

test('when the connection is lost all that was under way is unavailable, and the next gets another', async () => {
  await other.query('select pg_advisory_lock(1)');
  const asked = [TURN, TURN].map((statement) => lanes.rows('', statement, []));
  const settled = Promise.allSettled(asked);
  await other.query('select pg_terminate_backend($1)', [await waiting()]);
  for (const one of await settled) expect(one).toMatchObject({ status: 'rejected', reason: { type: 'unavailable' } });
  await other.query('select pg_advisory_unlock(1)');
  expect(await lanes.rows('', TURN, [])).toHaveLength(1);
});

test('one behind another that could not even be parsed is run all the same, and those to come keep their name', async () => {
  const count = prepared('count', 'select count(*)::int as n from cpos');
  await other.query('begin; lock table cpos');
  const asked = Promise.allSettled([lanes.rows('', count, []), lanes.rows('', count, [])]);
  await other.query('select pg_cancel_backend($1)', [await waiting()]);
  await waiting();
  await other.query('commit');
  const [first, second] = await asked;
  expect(first).toMatchObject({ status: 'rejected', reason: { type: 'unavailable' } });
  expect(second).toMatchObject({ status: 'fulfilled', value: [{ n: 0 }] });

  const named = prepared('named', `select count(*)::int as n from pg_prepared_statements where name like 'count_%'`);
  const [, [row]] = await Promise.all([lanes.rows('', count, []), lanes.rows<{ n: number }>('', named, [])]);
  expect(row).toEqual({ n: 1 });
});
