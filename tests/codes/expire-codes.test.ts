import { expireCodes, startExpiry } from '../../src/codes/expire';
import { createMetrics } from '../../src/metrics/metrics';
import { type Harness, recordedLog, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  // What it does by itself is for one test; in the others each call is the test's own.
  service = await startHarness({}, { expiry: { everyMs: 1e9 } });
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;
const running = { stopping: new AbortController().signal };
function expiring({ log } = recordedLog()) {
  return { db: service.db, log, metrics: createMetrics(log), ...running };
}
const due = (ids: string[]) => sql('update pairing_codes set expires_at = now() where id = any($1)', [ids]);
const statusOf = async (id: string) => (await sql('select status from pairing_codes where id = $1', [id]))[0].status;
const eventsOf = (ids: string[]) =>
  sql(`select code_id from events where type = 'pairing_code.expired' and code_id = any($1)`, [ids]);
const issued = async (n: number): Promise<string[]> =>
  (await Promise.all(Array.from({ length: n }, () => service.code()))).map(({ id }) => id);

test('a service expires codes by itself within 5 s, with one event, though nobody asks', async () => {
  const short = await startHarness({ CODE_TTL_SECONDS: '1' }, { databaseUrl: service.databaseUrl });
  const replica = await startHarness({}, { databaseUrl: service.databaseUrl });
  const { id, expires_at } = await short.code();
  await untilSo(async () => (await statusOf(id)) === 'expired');
  const [{ occurred_at, ended_at }] = await sql(
    `select e.occurred_at, c.ended_at from events e join pairing_codes c on c.id = e.code_id
     where c.id = $1 and e.type = 'pairing_code.expired'`,
    [id],
  );
  expect(occurred_at.getTime() - Date.parse(expires_at)).toBeLessThan(5_000);
  expect(occurred_at.getTime()).toBeGreaterThanOrEqual(Date.parse(expires_at));
  expect(ended_at).toEqual(new Date(expires_at));
  expect(await eventsOf([id])).toHaveLength(1);
  await Promise.all([short.stop(), replica.stop()]);
});

test('a poll of a code ends when the code expires', async () => {
  const [id = ''] = await issued(1);
  const listening = await service.sql.connect();
  const notified: (string | undefined)[] = [];
  listening.on('notification', ({ payload }) => notified.push(payload));
  await listening.query('listen scsp_codes');
  await due([id]);
  await expireCodes(expiring());
  await untilSo(async () => (await listening.query('select')) && notified.includes(id));
  await listening.query('unlisten *');
  listening.release();
  expect((await service.followCode(id, 30)).body.status).toBe('expired');
});

test('codes that are due expire and no others, and are logged and counted', async () => {
  const [one = '', two = '', young = '', cancelled = ''] = await issued(4);
  await service.request('DELETE', `/v1/app/pairing-codes/${cancelled}`, { token: service.appToken });
  await due([one, two, cancelled]);
  const log = recordedLog();
  const ctx = expiring(log);
  await expireCodes(ctx);
  expect(await Promise.all([one, two, young, cancelled].map(statusOf))).toEqual([
    'expired',
    'expired',
    'active',
    'cancelled',
  ]);
  expect((await eventsOf([one, two, young, cancelled])).map(({ code_id }) => code_id).sort()).toEqual(
    [one, two].sort(),
  );
  await log.waitFor(({ message, code_id }) => message === 'code expired' && code_id === two);
  expect(await ctx.metrics.registry.getSingleMetricAsString('scsp_codes_total')).toContain('{event="expired"} 2');
});

test('they expire in as many batches as it takes', async () => {
  const ids = await issued(25);
  await due(ids);
  await expireCodes(expiring(), 4);
  expect(await eventsOf(ids)).toHaveLength(25);
});

test('their neighbour keys are deleted, those of codes that were used too, and what no longer counts for a user', async () => {
  const [expired = '', used = '', active = ''] = await issued(3);
  const keysOf = async (id: string) =>
    (await sql('select count(*)::int as n from code_neighbours where code_id = $1', [id]))[0].n;
  for (const id of [expired, used, active]) expect(await keysOf(id)).toBeGreaterThan(1);
  await sql(`update pairing_codes set status = 'used', ended_at = now() where id = $1`, [used]);
  await sql('update code_neighbours set expires_at = now() where code_id = any($1)', [[expired, used]]);
  await due([expired]);
  await sql(`update user_code_issues set issued_at = now() - interval '10 minutes' - interval '1 second'`);
  await service.code();
  await sql(`insert into issued_code_counts (length, hour, issued) values (17, 1, 1)`);
  await expireCodes(expiring());
  expect([await keysOf(expired), await keysOf(used), (await keysOf(active)) > 1]).toEqual([0, 0, true]);
  expect(await sql('select count(*)::int as n from user_code_issues')).toEqual([{ n: 1 }]);
  expect(await sql('select from issued_code_counts where length = 17')).toEqual([]);
});

test('one replica at a time does it, and each code has one event', async () => {
  const ids = await issued(60);
  await due(ids);
  const other = await service.sql.connect();
  await other.query('select pg_advisory_lock(7305011)');
  await expireCodes(expiring());
  expect(await eventsOf(ids)).toEqual([]);
  await other.query('select pg_advisory_unlock(7305011)');
  other.release();
  await Promise.all(Array.from({ length: 4 }, () => expireCodes(expiring(), 7)));
  await expireCodes(expiring());
  expect(await eventsOf(ids)).toHaveLength(60);
});

test('a code that somebody holds is not waited for, and expires the next time', async () => {
  const [held = '', free = ''] = await issued(2);
  await due([held, free]);
  const other = await service.sql.connect();
  await other.query('begin');
  await other.query('select from pairing_codes where id = $1 for update', [held]);
  await expireCodes(expiring());
  expect([await statusOf(held), await statusOf(free)]).toEqual(['active', 'expired']);
  await other.query('rollback');
  other.release();
  await expireCodes(expiring());
  expect(await statusOf(held)).toBe('expired');
});

test('it goes on after a failure, which is logged once, and ends with the service', async () => {
  const log = recordedLog();
  await sql('alter function scsp_expire_codes_v3 rename to away');
  const job = startExpiry(expiring(log), { everyMs: 1 });
  const failed = ({ message }: { message: string }) => message === 'code expiry failed, retrying';
  await log.waitFor(failed);
  const [id = ''] = await issued(1);
  await due([id]);
  await sql('alter function away rename to scsp_expire_codes_v3');
  await log.waitFor(({ message, code_id }) => message === 'code expired' && code_id === id);
  expect(log.lines.filter(failed)).toHaveLength(1);
  await job.stop();
  const [later = ''] = await issued(1);
  await due([later]);
  await expireCodes({ ...expiring(), stopping: AbortSignal.abort() });
  expect(await statusOf(later)).toBe('active');
});

test('it finds codes that are due by an index, whatever else is stored', async () => {
  const other = await service.sql.connect();
  await other.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, expires_at, ended_at)
     select gen_random_uuid(), sha256(i::text::bytea), 8, i, 'home', case when i % 2 = 0 then 'active' else 'used' end,
       now() + interval '10 minutes', case when i % 2 = 1 then now() end
     from generate_series(1, 20000) i`,
  );
  // What former tests have read on this connection is not counted any more.
  await other.query('select pg_stat_force_next_flush()');
  await other.query('begin');
  await other.query('select * from scsp_expire_codes_v3(1000)');
  const { rows } = await other.query(
    `select relname, seq_tup_read::int as read, idx_tup_fetch::int < 200 as few from pg_stat_xact_user_tables
     where relname in ('pairing_codes', 'code_neighbours', 'user_code_issues') order by 1`,
  );
  await other.query('rollback');
  other.release();
  expect(rows).toEqual(
    ['code_neighbours', 'pairing_codes', 'user_code_issues'].map((relname) => ({ relname, read: 0, few: true })),
  );
});
