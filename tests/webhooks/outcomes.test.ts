import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { random } from '../../src/crypto/random';
import { type Database, openDatabase } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { createOutcomes } from '../../src/webhooks/outcomes';
import { createRecordOutcome, type Outcome } from '../../src/webhooks/record-outcomes';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { endLater } from '../harness/clean-up';
import { createTestDatabase, NO_LIMITS, startHarness } from '../harness/harness';
import { randomFrom, SEED } from '../harness/repeatable-random';
import { untilSo } from '../harness/until';

let db: Database;
let sql: Client;
beforeAll(async () => {
  const database = await createTestDatabase();
  sql = new Client(database.url);
  endLater(() => sql.end());
  await sql.connect();
  db = await openDatabase(database.url, schema, 4);
  endLater(() => db.destroy());
});

const URL = 'https://receiver.example/';
const LEASED_UNTIL = new Date('2026-11-29T12:00:30.123Z');

/** What an endpoint is like before the outcomes: SQL expressions by column. */
type State = Readonly<Record<'failures' | 'failing_since' | 'announced_at' | 'last_success_at', string>>;
const WORKS: State = { failures: '0', failing_since: 'null', announced_at: 'null', last_success_at: 'now()' };
const FAILS = { ...WORKS, failures: '3', failing_since: `now() - interval '1 hour'` };

async function anEndpoint(state: State = WORKS): Promise<string> {
  const id = randomUUID();
  await sql.query(
    `insert into webhook_endpoints (id, app_name, url, ${Object.keys(state)}) values ($1, 'app', $2, ${Object.values(state)})`,
    [id, URL],
  );
  return id;
}

/** Stores a leased delivery and returns it as an outcome needs it. */
async function aDelivery(
  endpointId: string,
  position: number,
  attempts = 1,
  stored: { [column: string]: string } = {},
) {
  const row = {
    attempts: String(attempts),
    status: `'pending'`,
    leased_until: `'${LEASED_UNTIL.toISOString()}'`,
    ...stored,
  };
  await sql.query(
    `insert into webhook_deliveries (endpoint_id, position, ${Object.keys(row)}) values ($1, $2, ${Object.values(row)})`,
    [endpointId, position],
  );
  return { endpointId, position: String(position), url: URL, leasedUntil: LEASED_UNTIL, attempt: attempts };
}

const endpointOf = async (id: string) =>
  (
    await sql.query(
      `select failures, announced_at is not null as announced, last_success_at is not null as succeeded,
         case when failing_since < now() - interval '30 minutes' then 'for long' when failing_since is not null then 'since now' end as failing
       from webhook_endpoints where id = $1`,
      [id],
    )
  ).rows[0];

const deliveriesOf = async (id: string) =>
  (
    await sql.query(
      `select position, status, attempts, leased_until, last_status, last_duration_ms, last_error,
         round(extract(epoch from next_attempt_at - now()) / 100)::int as waits
       from webhook_deliveries where endpoint_id = $1 order by position`,
      [id],
    )
  ).rows;

describe('outcomes that are recorded in one statement', () => {
  test('leave what they leave one after another, whatever they are', async () => {
    const random = randomFrom(SEED);
    for (let round = 0; round < 40; round++) {
      const states = Array.from({ length: 3 }, () =>
        random.of([
          WORKS,
          { ...WORKS, last_success_at: random.of(['null', `now() - interval '1 hour'`]) },
          FAILS,
          { ...FAILS, announced_at: 'now()' },
        ]),
      );
      const plan = Array.from({ length: 1 + random.below(12) }, (_, position) => ({
        position,
        endpoint: random.below(3),
        attempts: 1 + random.below(3),
        stored: random.of<{ [column: string]: string }>([
          {},
          {},
          {},
          { status: `'skipped'` },
          { attempts: '0' },
          { leased_until: `'2026-11-29T12:00:40Z'` },
        ]),
        outcome: random.of<Partial<Outcome> & Pick<Outcome, 'result'>>([
          { result: 'delivered', status: 204, durationMs: 7 },
          { result: 'failed', status: 500, durationMs: 8, error: 'The endpoint answered 500.', pause: 1_000 },
          { result: 'failed', durationMs: 9, error: 'The endpoint could not be reached.' },
          {
            result: 'failed',
            status: 410,
            durationMs: 1,
            error: 'of its former URL',
            pause: 300,
            url: 'https://former.example/',
          },
          { result: 'put-back', pause: 500 },
        ]),
      }));
      const world = async () => {
        const ids: string[] = [];
        for (const state of states) ids.push(await anEndpoint(state));
        const outcomes: Outcome[] = [];
        for (const { endpoint, position, attempts, stored, outcome } of plan)
          outcomes.push({ ...(await aDelivery(String(ids[endpoint]), position, attempts, stored)), ...outcome });
        const seen = async () => {
          const found = [];
          for (const id of ids) found.push({ endpoint: await endpointOf(id), deliveries: await deliveriesOf(id) });
          return found;
        };
        return { outcomes, seen };
      };
      const [together, apart] = [await world(), await world()];
      const record = createRecordOutcome({ db });
      const atOnce = await Promise.all(together.outcomes.map(record));
      const oneByOne = [];
      for (const outcome of apart.outcomes) oneByOne.push(await record(outcome));
      const what = JSON.stringify({ seed: SEED, round, states, plan });
      expect({ what, recorded: atOnce, seen: await together.seen() }).toEqual({
        what,
        recorded: oneByOne,
        seen: await apart.seen(),
      });
    }
  });

  test('count as they would alone: failures since the last success, which ends what was before', async () => {
    const id = await anEndpoint({ ...FAILS, announced_at: 'now()' });
    const record = createRecordOutcome({ db });
    const results = ['failed', 'failed', 'delivered', 'failed'] as const;
    const outcomes: Outcome[] = [];
    for (const [position, result] of results.entries()) outcomes.push({ ...(await aDelivery(id, position)), result });
    expect(await Promise.all(outcomes.map(record))).toEqual([4, 5, 0, 1].map((failures) => ({ failures })));
    expect(await endpointOf(id)).toEqual({ failures: 1, announced: false, succeeded: true, failing: 'since now' });
  });

  test('end their own leases only, and respect what happened to a delivery during its call', async () => {
    const id = await anEndpoint();
    const delivered = { result: 'delivered', status: 204 } as const;
    const failed = { result: 'failed', status: 500, pause: 1_000 } as const;
    const outcomes: Outcome[] = [
      { ...(await aDelivery(id, 0)), ...delivered },
      { ...(await aDelivery(id, 1, 3)), ...failed },
      { ...(await aDelivery(id, 2, 11)), result: 'failed' },
      { ...(await aDelivery(id, 3, 2)), result: 'put-back', pause: 500 },
      // Redelivered during the call.
      { ...(await aDelivery(id, 4, 1, { attempts: '0' })), attempt: 1, ...delivered },
      { ...(await aDelivery(id, 5, 1, { attempts: '0' })), attempt: 1, ...failed },
      // Skipped during the call, because the endpoint was disabled.
      { ...(await aDelivery(id, 6, 1, { status: `'skipped'` })), ...delivered },
      { ...(await aDelivery(id, 7, 11, { status: `'skipped'` })), result: 'failed' },
      // Leased again, after this lease had run out.
      { ...(await aDelivery(id, 8, 2, { leased_until: `'2026-11-29T12:00:40Z'` })), ...delivered },
    ];
    await Promise.all(outcomes.map(createRecordOutcome({ db })));
    const free = { leased_until: null };
    expect(await deliveriesOf(id)).toMatchObject([
      { ...free, status: 'delivered', attempts: 1, last_status: 204 },
      { ...free, status: 'pending', attempts: 3, last_status: 500, waits: 10 },
      { ...free, status: 'failed', attempts: 11, last_status: null },
      { ...free, status: 'pending', attempts: 1, waits: 5 },
      { ...free, status: 'pending', attempts: 0, last_status: 204, waits: 0 },
      { ...free, status: 'pending', attempts: 0, last_status: 500, waits: 0 },
      { ...free, status: 'delivered', attempts: 1 },
      { ...free, status: 'skipped', attempts: 11 },
      { leased_until: new Date('2026-11-29T12:00:40Z'), status: 'pending', attempts: 2, last_status: null },
    ]);
  });

  test('share a commit, and leave an endpoint alone that works', async () => {
    const ids = [await anEndpoint(), await anEndpoint()];
    const versions = async (table: string, column: string) =>
      (await sql.query(`select distinct xmin::text, xmax::text from ${table} where ${column} = any ($1)`, [ids])).rows;
    const before = await versions('webhook_endpoints', 'id');
    const outcomes: Outcome[] = [];
    for (const id of ids)
      for (let n = 0; n < 10; n++) outcomes.push({ ...(await aDelivery(id, n)), result: 'delivered', status: 200 });
    await Promise.all(outcomes.map(createRecordOutcome({ db })));
    expect(await versions('webhook_deliveries', 'endpoint_id')).toHaveLength(1);
    expect(await versions('webhook_endpoints', 'id')).toEqual(before);
  });

  test('do not fail because the endpoint of one of them is locked', async () => {
    const [locked, other] = [await anEndpoint(), await anEndpoint()];
    const failed: Outcome = { ...(await aDelivery(locked, 1)), result: 'failed', pause: 5 };
    const delivered: Outcome = { ...(await aDelivery(other, 1)), result: 'delivered', status: 200 };
    const record = createRecordOutcome({ db });
    await sql.query('begin');
    await sql.query('select from webhook_endpoints where id = $1 for update', [locked]);
    const settled = await Promise.allSettled([record(failed), record(delivered)]);
    await sql.query('commit');
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    // Its lease runs out.
    expect(await deliveriesOf(locked)).toMatchObject([{ status: 'pending', leased_until: LEASED_UNTIL }]);
    expect(await deliveriesOf(other)).toMatchObject([{ status: 'delivered', leased_until: null }]);
  });
});

test('calls that end together are recorded together', async () => {
  const service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS });
  const open: (() => void)[] = [];
  const [app, receiver] = [await startApp(service), await startReceiver((res) => void open.push(() => res.end()))];
  const endpoint = await app.endpoint({ url: receiver.url });
  await endpoint.set('last_success_at = now()');
  await app.events(10);
  await receiver.got(10);
  receiver.answer = answerStatus(200);
  for (const end of open) end();
  await endpoint.settled();
  const { rows } = await service.sql.query(
    'select count(distinct xmin::text)::int as commits from webhook_deliveries where endpoint_id = $1',
    [endpoint.id],
  );
  expect(rows[0].commits).toBeLessThanOrEqual(3);
  await service.stop();
});

test('a first attempt counts from the repeated attempt by which the endpoint was seen to answer again', async () => {
  const delays: (number | undefined)[] = [];
  const metrics = {
    webhookNotDelivered() {},
    webhookDelivered: (_call: unknown, delay: number | undefined) => void delays.push(delay),
  };
  const outcomes = createOutcomes({ metrics, random } as never, async () => ({ failures: 1 }));
  const trace = { traceId: 'a', spanId: 'b', sampled: false };
  const leased = (attempt: number) => ({
    ...{ targetId: 'an endpoint', url: URL, position: '1', id: 'e', attempt, leasedUntil: LEASED_UNTIL },
    origin: { requestId: 'r', trace },
  });
  const sent = {
    delivered: true,
    status: 204,
    durationMs: 1,
    error: undefined,
    retryAfter: undefined,
    call: 'answered',
  } as const;
  const longAgo = performance.now() - 100_000;
  await outcomes.failed(leased(1), { ...sent, delivered: false, status: 500, error: 'The endpoint answered 500.' });
  const before = performance.now();
  await outcomes.delivered(leased(2), { ...sent, publishedAt: longAgo });
  const answersSince = performance.now();
  await untilSo(() => performance.now() > answersSince);
  const began = performance.now();
  await outcomes.delivered(leased(1), { ...sent, publishedAt: longAgo });
  const [repeated, first = 0] = delays;
  expect(repeated).toBeUndefined();
  expect(first * 1_000).toBeGreaterThanOrEqual(began - answersSince);
  expect(first * 1_000).toBeLessThanOrEqual(performance.now() - before);
});
