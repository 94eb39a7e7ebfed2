import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { aStation, createTestDatabase, type Harness, NO_LIMITS, startHarness } from '../harness/harness';
import { untilAnswered, untilStatus } from '../harness/until';

/** Two services on a database that rolls back whoever loses a race, as one of several nodes does. */
let database: Awaited<ReturnType<typeof createTestDatabase>>;
let service: Harness;
let replica: Harness;
beforeAll(async () => {
  database = await createTestDatabase();
  const client = new Client(database.url);
  await client.connect();
  const name = client.escapeIdentifier(new URL(database.url).pathname.slice(1));
  await client.query(`alter database ${name} set default_transaction_isolation = 'serializable'`);
  await client.end();
  service = await startHarness(NO_LIMITS, { databaseUrl: database.url });
  replica = await startHarness(NO_LIMITS, { databaseUrl: database.url });
});
afterAll(async () => {
  await replica.stop();
  await service.stop();
  await database.drop();
});

const either = (i: number) => (i % 2 === 0 ? service : replica);
const times = <T>(n: number, make: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const sorted = (answers: { status: number }[]) => answers.map(({ status }) => status).sort();

test('of requests of one CPO with one code exactly one pairs, and the others get 404 or 409', async () => {
  const cpo = await service.cpo();
  const { code } = await service.code();
  // Whoever loses again and again gets a 503 in the end, and asks again.
  const pair = (i: number) => untilAnswered(() => either(i).pair(cpo, code));
  const answers = await times(40, pair);
  expect(sorted(answers)).toEqual([200, ...Array(39).fill(404)]);
});

test('of requests of several CPOs with codes for one uid exactly one pairs, and the other codes stay good', async () => {
  const cpos = await times(8, () => service.cpo());
  const codes = await times(8, (i) => either(i).code());
  const uid = `race-${randomUUID()}`;
  const answers = await times(8, (i) => either(i).pair(cpos[i]!, codes[i].code, aStation(uid)));
  expect(sorted(answers)).toEqual([200, ...Array(7).fill(409)]);
  const states = await times(8, (i) => untilStatus(200, () => service.followCode(codes[i].id), 30_000));
  expect(states.map(({ body }) => body.status).sort()).toEqual([...Array(7).fill('active'), 'used']);
});

test('codes issued at the same time for one user and location leave one active', async () => {
  const who = { user_id: randomUUID(), charging_location_id: 'home' };
  const codes = await times(20, (i) => either(i).code(who));
  const states = await times(20, (i) => service.followCode(codes[i].id));
  expect(states.filter(({ body }) => body.status === 'active')).toHaveLength(1);
});
