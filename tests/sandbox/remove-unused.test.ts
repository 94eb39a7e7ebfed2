import { randomUUID } from 'node:crypto';
import { schema } from '../../src/db/schema';
import { removeUnused } from '../../src/sandbox/remove-unused';
import { startApp } from '../harness/an-app';
import { type Harness, startHarness, type TestCpo } from '../harness/harness';
import { outcomesOf, pairBy, signUp, uidsOf } from '../harness/self-service';
import { untilSo, untilStatus } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' }, { testCodes: { lateMs: 1, withheldMs: 1 } });
});
afterAll(() => service.stop());

const run = () => removeUnused({ db: service.db, log: service.log.log, stopping: new AbortController().signal });

/** Moves everything that a CPO did back in time. */
async function age(cpo: { id: string }, time: string) {
  await service.sql.query(
    `update tokens set created_at = created_at - $2::interval, last_used_at = last_used_at - $2::interval where cpo_id = $1`,
    [cpo.id, time],
  );
  await service.sql.query(
    `update cpos set created_at = created_at - $2::interval, suspended_at = suspended_at - $2::interval where id = $1`,
    [cpo.id, time],
  );
}

/** Every table with rows of a CPO. Published events stay: those of self-service CPOs are of an app's codes. */
const TABLES = schema.entities
  .map(({ options }) => options)
  .filter(
    ({ name, columns }) => name !== 'events' && Object.values(columns).some((column) => column?.name === 'cpo_id'),
  )
  .map(({ name }) => name);
async function rowsOf({ id }: { id: string }): Promise<Record<string, number>> {
  const counts = await Promise.all(
    TABLES.map(async (table) => {
      const { rows } = await service.sql.query(`select count(*)::int as count from ${table} where cpo_id = $1`, [id]);
      return [table, rows[0].count] as const;
    }),
  );
  const { rows } = await service.sql.query('select count(*)::int as count from cpos where id = $1', [id]);
  return { ...Object.fromEntries(counts), cpos: rows[0].count };
}
const NOTHING = Object.fromEntries([...TABLES, 'cpos'].map((table) => [table, 0]));

/** A CPO with rows in every table. */
async function aBusyCpo(): Promise<TestCpo> {
  const cpo = await signUp(service);
  await pairBy(service, cpo, '100001', { uid: 'lasts', key: 'a key' });
  await pairBy(service, cpo, '100002', { uid: 'ended' });
  await service.unpairAsCpo(cpo, 'ended');
  await pairBy(service, cpo, '424242');
  await service.sql.query(`insert into sandbox_limits (cpo_id) values ($1)`, [cpo.id]);
  await service.sql.query(
    `insert into outbox (cpo_id, payload_protocol, uid, next_attempt_at) values ($1, 'ocpp1.6', 'x', now() + interval '1 day')`,
    [cpo.id],
  );
  const values = [cpo.id, randomUUID()];
  await service.sql.query(
    `insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, duration_ms, outcome)
     values ($2, $1, now(), 'pair', 'ocpp1.6', 'r', 1, 'answered')`,
    values,
  );
  await service.sql.query(
    'insert into certification_runs (cpo_id, id, leased_until, total) values ($1, $2, now(), 1)',
    values,
  );
  await service.sql.query(
    `insert into certification_results (cpo_id, check_id, result, seen_at) values ($1, $2, '{}', now())`,
    values,
  );
  // An app may know the id of the CPO.
  const app = await startApp(service);
  const issued = await service.request('POST', '/v1/app/pairing-codes', {
    token: app.token,
    body: { user_id: 'u', charging_location_id: cpo.id, cpo_id: cpo.id },
  });
  service.secrets.add(issued.body.code);
  // Three times to pair and once to unpair.
  await untilSo(async () => (await rowsOf(cpo)).observed_requests === 4);
  return cpo;
}

test('a CPO that is unused for 24 hours is suspended, and a minute later nothing of it is left', async () => {
  const cpo = await aBusyCpo();
  for (const count of Object.values(await rowsOf(cpo))) expect(count).toBeGreaterThan(0);
  await age(cpo, '25 hours');
  await run();
  expect((await untilStatus(401, () => service.request('GET', '/v1/scsp/me', { token: cpo.token }))).status).toBe(401);
  expect((await rowsOf(cpo)).pairings).toBe(2);
  await age(cpo, '2 minutes');
  await run();
  expect(await rowsOf(cpo)).toEqual(NOTHING);
  const { rows } = await service.sql.query(
    'select from stations s where not exists (select from pairings p where p.id = s.pairing_id)',
  );
  expect(rows).toEqual([]);
});

test('a CPO that is used, or new, stays, and so does one of an operator', async () => {
  const [used, fresh, operators] = [await signUp(service), await signUp(service), await service.cpo()];
  await pairBy(service, used, '100001', { uid: 'mine' });
  await pairBy(service, operators, '100001', { uid: 'theirs' });
  for (const cpo of [used, operators]) await age(cpo, '25 hours');
  await service.sql.query(`update tokens set last_used_at = now() - interval '23 hours' where cpo_id = $1`, [used.id]);
  await service.sql.query(`update cpos set suspended_at = now() - interval '25 hours' where id = $1`, [operators.id]);
  await run();
  await run();
  expect(await uidsOf(service, used)).toEqual(['mine']);
  expect((await service.request('GET', '/v1/scsp/me', { token: fresh.token })).status).toBe(200);
  expect((await rowsOf(operators)).pairings).toBe(1);
});

test('the use of a token counts from the time of the use', async () => {
  const cpo = await signUp(service);
  await age(cpo, '25 hours');
  await service.sql.query('update tokens set last_used_at = now() where cpo_id = $1', [cpo.id]);
  await run();
  expect(await outcomesOf(service, cpo)).toEqual([]);
});

test('a CPO stays as long as a use within 24 hours may not have been stored yet', async () => {
  const cpo = await signUp(service);
  await age(cpo, '24 hours 4 minutes');
  await run();
  expect(await outcomesOf(service, cpo)).toEqual([]);
});

test('another CPO with the same uids keeps its stations', async () => {
  const [gone, stays] = [await aBusyCpo(), await aBusyCpo()];
  const before = await rowsOf(stays);
  await age(gone, '25 hours');
  await run();
  await age(gone, '2 minutes');
  await run();
  expect(await rowsOf(gone)).toEqual(NOTHING);
  expect(await rowsOf(stays)).toEqual(before);
});

test('a pairing in progress ends before its CPO is gone, and leaves nothing', async () => {
  const cpo = await signUp(service);
  const unlock = await service.lockCounter(cpo);
  const paired = pairBy(service, cpo, '100001').then(({ status }) => status);
  await untilSo(async () => {
    const { rows } = await service.sql.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%cpo_tries%'`,
    );
    return rows.length > 0;
  });
  await age(cpo, '25 hours');
  await run();
  await age(cpo, '2 minutes');
  const removed = run();
  await unlock();
  expect([200, 503]).toContain(await paired);
  await removed;
  await run();
  const { pairings, cpos } = await rowsOf(cpo);
  expect({ pairings, cpos }).toEqual({ pairings: 0, cpos: 0 });
});

test('addresses are forgotten after an hour', async () => {
  await signUp(service);
  await service.sql.query(`update sandbox_sign_ups set signed_up_at = now() - interval '61 minutes'`);
  await run();
  expect((await service.sql.query('select from sandbox_sign_ups')).rows).toEqual([]);
});
