import { randomUUID } from 'node:crypto';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { untilAnswered } from '../harness/until';

/** Two services on one database: what holds must hold across replicas. */
let service: Harness;
let replica: Harness;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
  replica = await startHarness(NO_LIMITS, { databaseUrl: service.databaseUrl });
});
afterAll(async () => {
  await replica.stop();
  await service.stop();
});

const count = (answers: { status: number }[]) => {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};
const times = <T>(n: number, make: (i: number) => T) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const either = (i: number) => (i % 2 === 0 ? service : replica);
const pair = (i: number, ...request: Parameters<Harness['pair']>) => untilAnswered(() => either(i).pair(...request));

test('of 200 simultaneous requests with one code exactly one pairs', async () => {
  const cpo = await service.cpo();
  const { code, id } = await service.code();
  const answers = await times(200, (i) => pair(i, cpo, code));
  expect(count(answers)).toEqual({ 200: 1, 404: 199 });
  const { rows } = await service.sql.query('select count(*)::int as n from pairings where code_id = $1', [id]);
  expect(rows).toEqual([{ n: 1 }]);
});

test('of 200 codes for one uid exactly one pairs, and the other codes stay good', async () => {
  const cpo = await service.cpo();
  const codes = await times(200, (i) => either(i).code());
  const uid = `Race-${randomUUID()}`;
  const answers = await times(200, (i) => pair(i, cpo, codes[i].code, aStation(i % 3 === 0 ? uid.toUpperCase() : uid)));
  expect(count(answers)).toEqual({ 200: 1, 409: 199 });
  const { rows } = await service.sql.query(
    `select status, count(*)::int as n from pairing_codes where id = any($1) group by 1 order by 1`,
    [codes.map(({ id }) => id)],
  );
  expect(rows).toEqual([
    { status: 'active', n: 199 },
    { status: 'used', n: 1 },
  ]);
});

test('the same request sent 50 times at once pairs once and otherwise gets 409', async () => {
  const cpo = await service.cpo();
  const { code } = await service.code();
  const station = aStation();
  const answers = await times(50, (i) => pair(i, cpo, code, station));
  expect(count(answers)).toEqual({ 200: 1, 409: 49 });
});

test('of a pairing and a cancellation at the same time exactly one wins', async () => {
  const cpo = await service.cpo();
  for (let round = 0; round < 20; round++) {
    const { code, id } = await service.code();
    const [paired, cancelled] = await Promise.all([
      service.pair(cpo, code),
      replica.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: service.appToken }),
    ]);
    expect([
      [200, 409],
      [404, 204],
    ]).toContainEqual([paired.status, cancelled.status]);
    const { status } = (await service.followCode(id)).body;
    expect(status).toBe(paired.status === 200 ? 'used' : 'cancelled');
  }
});

test('codes issued at the same time for one user and location leave one active', async () => {
  const who = { user_id: randomUUID(), charging_location_id: 'home' };
  const codes = await times(20, (i) => either(i).code(who));
  const states = await times(20, (i) => service.followCode(codes[i].id));
  expect(states.filter(({ body }) => body.status === 'active')).toHaveLength(1);
  expect(states.filter(({ body }) => body.status === 'cancelled')).toHaveLength(19);
});

test('200 innocent pairings at once all succeed', async () => {
  const cpo = await service.cpo();
  const codes = await times(200, (i) => either(i).code());
  const answers = await times(200, (i) => pair(i, cpo, codes[i].code));
  expect(count(answers)).toEqual({ 200: 200 });
});

test('two batches of requests that name the same stations in opposite order do not deadlock', async () => {
  // A first request keeps its CPO's others waiting, which then go as one batch. In the batches each station takes its time,
  // so that the two meet half-way unless they take the same way.
  await service.sql.query(`
    create function take_time() returns trigger language plpgsql as $$
      begin perform pg_sleep(case when new.station_uid like 'first-%' then 0.5 else 0.15 end); return new; end $$;
    create trigger take_time before insert on pairings for each row execute function take_time()`);
  const cpos = [await service.cpo(), await service.cpo()];
  const uids = Array.from({ length: 4 }, () => randomUUID());
  const codes = await times(2 * (uids.length + 1), () => service.code());
  const pairOne = (i: number, uid: string) => pair(i, cpos[i] as TestCpo, codes.pop().code, aStation(uid));
  const first = [0, 1].map((i) => pairOne(i, `first-${randomUUID()}`));
  const batches = [...uids.map((uid) => pairOne(0, uid)), ...uids.toReversed().map((uid) => pairOne(1, uid))];
  expect(count(await Promise.all(first))).toEqual({ 200: 2 });
  expect(count(await Promise.all(batches))).toEqual({ 200: uids.length, 409: uids.length });
  await service.sql.query('drop trigger take_time on pairings');
});
