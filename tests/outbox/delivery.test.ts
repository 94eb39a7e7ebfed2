import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { untilSo } from '../harness/until';

const SETTINGS = { SANDBOX: 'true', ...NO_LIMITS };
let service: Harness;
beforeAll(async () => {
  service = await startHarness(SETTINGS);
});
afterAll(() => service.stop());

/** Pairs stations of a CPO, each for a user of its own, and unpairs them for their customers. */
async function unpairMany(cpo: TestCpo, count: number): Promise<void> {
  const uids = Array.from({ length: count }, () => `S-${randomUUID()}`);
  for (const uid of uids)
    expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  for (const uid of uids) expect((await service.unpairAsApp(uid)).status).toBe(200);
}
const notified = (cpoId: string) =>
  service.log.waitFor((line) => line.message === 'CPO notified of an unpairing' && line.cpo_id === cpoId);

test('a silent CPO with 40 notifications due does not delay a healthy one', async () => {
  const silent = await startCpo(service, () => {});
  const healthy = await startCpo(service, (res) => sendJson(res, 200, {}));
  await unpairMany(silent, 40);
  await silent.asked(2);
  const began = performance.now();
  await unpairMany(healthy, 1);
  await notified(healthy.id);
  const seconds = (performance.now() - began) / 1_000;
  console.log(`healthy CPO notified after ${seconds.toFixed(2)} s`);
  // A call to the silent one takes 10 s.
  expect(seconds).toBeLessThan(9);
  await Promise.all([silent.down(), healthy.down()]);
}, 200_000);

const due = (cpoId: string) =>
  service.sql.query('update outbox set next_attempt_at = now(), leased_until = null where cpo_id = $1', [cpoId]);
const rowsOf = async (cpoId: string) =>
  (await service.sql.query('select * from outbox where cpo_id = $1 order by created_at', [cpoId])).rows;

test('two replicas never have more than two calls to a CPO in flight, and all are made', async () => {
  const replica = await startHarness(SETTINGS, { databaseUrl: service.databaseUrl });
  let most = 0;
  // Answers when two are open and a third has had time to come.
  const open: ServerResponse[] = [];
  const answerAll = () => {
    for (const res of open.splice(0)) sendJson(res, 200, {});
  };
  const cpo = await startCpo(service, (res) => {
    most = Math.max(most, open.push(res));
    if (open.length === 2) setTimeout(answerAll, 20);
  });
  await unpairMany(cpo, 30);
  await cpo.asked(30);
  while ((await rowsOf(cpo.id)).length > 0);
  expect(most).toBe(2);
  expect(cpo.received).toHaveLength(30);
  await Promise.all([cpo.down(), replica.stop()]);
});

test('a lease that its process did not end runs out, and the CPO is notified', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 200, {}));
  await service.stopDelivery();
  await unpairMany(cpo, 3);
  // As a process leaves them that dies in the middle of its calls: two are in flight as far as anybody knows.
  await service.sql.query(
    `update outbox set attempts = 1, leased_until = now() + interval '1 hour', next_attempt_at = now() + interval '1 hour'
     where id in (select id from outbox where cpo_id = $1 limit 2)`,
    [cpo.id],
  );
  const replica = await startHarness(SETTINGS, { databaseUrl: service.databaseUrl });
  const other = await startCpo(service, (res) => sendJson(res, 200, {}));
  await unpairMany(other, 1);
  await other.asked(1);
  expect(cpo.received).toHaveLength(0);
  await due(cpo.id);
  await cpo.asked(3);
  while ((await rowsOf(cpo.id)).length > 0);
  await Promise.all([cpo.down(), other.down(), replica.stop()]);
  await service.stop();
  service = await startHarness(SETTINGS);
});

test.each([202, 204, 404, 410])('a CPO that answers %i is notified', async (status) => {
  const cpo = await startCpo(service, (res) => void res.writeHead(status).end());
  await unpairMany(cpo, 1);
  await notified(cpo.id);
  expect(await rowsOf(cpo.id)).toEqual([]);
  await cpo.down();
});

describe('when a CPO accepts a notification after it was away for long', () => {
  /**
   * A CPO with seven notifications, whose next attempt is an hour away but for one, and a replica that delivers them.
   * @param statusOfOthers what the CPO answers to all but that one, which it accepts
   */
  async function afterOutage(statusOfOthers: number) {
    const stopped = await startHarness(SETTINGS);
    await stopped.service.stopDelivery();
    const uids = Array.from({ length: 7 }, () => `S-${randomUUID()}`);
    const cpo = await startCpo(stopped, (res, { path }) =>
      sendJson(res, path.includes(`${uids[0]}`) ? 200 : statusOfOthers, {}),
    );
    for (const uid of uids) await stopped.pair(cpo, (await stopped.code()).code, aStation(uid));
    for (const uid of uids) await stopped.unpairAsApp(uid);
    await stopped.sql.query(
      `update outbox set attempts = 20, next_attempt_at = case when uid = $1 then now() else now() + interval '1 hour' end`,
      [uids[0]],
    );
    const replica = await startHarness(SETTINGS, { databaseUrl: stopped.databaseUrl });
    const waiting = async () => (await stopped.sql.query('select from outbox where leased_until is null')).rowCount;
    const stop = () => Promise.all([cpo.down(), replica.stop(), stopped.stop()]);
    return { cpo, waiting, stop };
  }

  test('it gets at once the others that wait', async () => {
    const { cpo, waiting, stop } = await afterOutage(200);
    await cpo.asked(7);
    await untilSo(async () => (await waiting()) === 0);
    await stop();
  });

  test('and refuses the others, two of them are repeated', async () => {
    const { cpo, waiting, stop } = await afterOutage(400);
    await cpo.asked(3);
    await untilSo(async () => (await waiting()) === 6);
    expect(cpo.received).toHaveLength(3);
    await stop();
  });
});

test.each([
  ['a large 200', (res: ServerResponse) => sendJson(res, 200, { message: 'x'.repeat(70_000) })],
  ['a large 404', (res: ServerResponse) => sendJson(res, 404, { message: 'x'.repeat(70_000) })],
  ['a 200 whose body does not end', (res: ServerResponse) => void res.writeHead(200).write('{')],
])('%s counts as notified', async (_what, answer) => {
  const cpo = await startCpo(service, answer);
  const uid = `S-${randomUUID()}`;
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  expect((await service.unpairAsApp(uid)).status).toBe(200);
  await service.log.waitFor((line) => line.message === 'CPO notified of an unpairing' && line.cpo_id === cpo.id);
  expect(cpo.received).toHaveLength(1);
  await cpo.down();
});

test('an open circuit counts for notifications too, and costs them no attempt', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
  for (let i = 0; i < 10; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
  const asked = cpo.received.length;
  await unpairMany(cpo, 3);
  const other = await startCpo(service, (res) => sendJson(res, 200, {}));
  await unpairMany(other, 1);
  await notified(other.id);
  expect(cpo.received).toHaveLength(asked);
  expect((await rowsOf(cpo.id)).map(({ attempts }) => attempts)).toEqual([0, 0, 0]);
  await Promise.all([cpo.down(), other.down()]);
});

test('notifications of three users open the circuit, and those of one do not', async () => {
  const opened = (cpoId: string) => (line: { message: string; cpo_id?: unknown }) =>
    line.message.startsWith('circuit of a CPO opened') && line.cpo_id === cpoId;
  const one = await startCpo(service, (res) => sendJson(res, 500, {}));
  const user_id = randomUUID();
  for (let i = 0; i < 12; i++) {
    const uid = `S-${randomUUID()}`;
    expect((await service.pair(one, (await service.code({ user_id })).code, aStation(uid))).status).toBe(200);
    expect((await service.unpairAsApp(uid)).status).toBe(200);
  }
  await one.asked(12);
  const many = await startCpo(service, (res) => sendJson(res, 500, {}));
  await unpairMany(many, 12);
  await service.log.waitFor(opened(many.id));
  expect(service.log.lines.some(opened(one.id))).toBe(false);
  await Promise.all([one.down(), many.down()]);
});

describe('a notification that is given up', () => {
  const giveUp = async (uid: string, user_id: string, forget: boolean) => {
    const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
    expect((await service.pair(cpo, (await service.code({ user_id })).code, aStation(uid))).status).toBe(200);
    if (forget) await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
    else await service.unpairAsApp(uid);
    await cpo.asked(1);
    while ((await rowsOf(cpo.id))[0].leased_until !== null);
    await service.sql.query(
      `update outbox set created_at = now() - interval '7 days 1 second', next_attempt_at = now() where cpo_id = $1`,
      [cpo.id],
    );
    await service.log.waitFor(({ message, cpo_id }) => message.startsWith('gave up') && cpo_id === cpo.id);
    await cpo.down();
    return cpo.id;
  };

  test('keeps its uid until the user is forgotten', async () => {
    const [uid, user_id] = [`S-${randomUUID()}`, randomUUID()];
    const cpoId = await giveUp(uid, user_id, false);
    expect(await rowsOf(cpoId)).toMatchObject([{ uid, gave_up_at: expect.any(Date) }]);
    expect((await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken })).status).toBe(204);
    expect(await rowsOf(cpoId)).toMatchObject([{ uid: null }]);
  });

  test('loses its uid when the user was forgotten before, and stays visible', async () => {
    const cpoId = await giveUp(`S-${randomUUID()}`, randomUUID(), true);
    expect(await rowsOf(cpoId)).toMatchObject([{ uid: null, gave_up_at: expect.any(Date) }]);
  });
});

test('rows that the previous version has stored are delivered', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 200, {}));
  const uid = `S-${randomUUID()}`;
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  await service.sql.query(
    `with ended as (
       update pairings set ended_at = now(), ended_by = 'app' where cpo_id = $1 returning id
     )
     insert into outbox (pairing_id, cpo_id, payload_protocol, uid) select id, $1, 'ocpp2.0.1', $2 from ended`,
    [cpo.id, uid],
  );
  await notified(cpo.id);
  expect(cpo.received[0]?.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  await cpo.down();
});
