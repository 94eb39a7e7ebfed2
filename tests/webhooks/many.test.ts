import type { ServerResponse } from 'node:http';
import { random } from '../../src/crypto/random';
import { CONNECT_MS, DEADLINE_MS } from '../../src/webhooks/client';
import { ENGINE_LIMITS } from '../../src/webhooks/deliver';
import { MAX_ENDPOINTS } from '../../src/webhooks/endpoints';
import { PAUSES, pauseSeconds, retryAfterSeconds } from '../../src/webhooks/pauses';
import { sendJson, startCpo } from '../harness/a-cpo';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { aStation, type Harness, NO_LIMITS, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

const SETTINGS = { SANDBOX: 'true', METRICS_PORT: '0', ...NO_LIMITS };
let service: Harness;
beforeAll(async () => {
  service = await startHarness(SETTINGS);
});
afterAll(() => service.stop());

const seconds = (from: number) => (performance.now() - from) / 1_000;

test('30 endpoints that hang delay neither a healthy one nor the notification of a CPO', async () => {
  const [app, healthy] = [await startApp(service), await startReceiver()];
  await app.endpoint({ url: healthy.url, types: ['pairing_code.expired'] });
  const cpo = await startCpo(service, (res) => sendJson(res, 200, {}));
  let count = 0;
  /** How long it takes until an event is delivered, and until a CPO is notified of an unpair, in seconds. */
  const measure = async () => {
    count += 1;
    let began = performance.now();
    await app.events(1, 'pairing_code.expired');
    await healthy.got(count);
    const delivered = seconds(began);
    const station = aStation();
    await service.pair(cpo, (await service.code()).code, station);
    began = performance.now();
    expect((await service.unpairAsApp(station.uid)).status).toBe(200);
    const unpaired = seconds(began);
    await cpo.asked(count);
    return { delivered, unpaired, notified: seconds(began) };
  };
  // The first requests of a process take longer.
  const before = await measure();

  const hanging = await startReceiver(() => {});
  const apps = await Promise.all(Array.from({ length: 3 }, () => startApp(service)));
  for (const one of apps)
    for (let i = 0; i < 10; i++) await one.endpoint({ url: hanging.url, types: ['cpo.notified'] });
  await Promise.all(apps.map((one) => one.events(20)));
  await hanging.got(300);
  const during = await measure();
  console.log(JSON.stringify({ before, during }));
  expect(during.delivered).toBeLessThan(2);
  expect(during.notified).toBeLessThan(2);
  await hanging.down();
});

test('an endpoint that keeps failing gets one call at a time, and then none while its circuit is open', async () => {
  // Its circuits are counted.
  const own = await startHarness(SETTINGS);
  const [app, receiver] = [await startApp(own), await startReceiver(() => {})];
  const endpoint = await app.endpoint({ url: receiver.url });
  await endpoint.set('failures = 5, failing_since = now()');
  await app.events(12);
  await receiver.got(1);
  // Later events are claimed in the same statement as those that are due, so another endpoint's delivery shows that it ran.
  const other = await startReceiver();
  const healthy = await app.endpoint({ url: other.url, types: ['pairing_code.expired'] });
  await app.events(1, 'pairing_code.expired');
  await other.got(1);
  expect(receiver.received).toHaveLength(1);
  receiver.answer = answerStatus(500);
  await receiver.down();
  await own.log.waitFor(
    (line) => line.message.startsWith('circuit of a webhook endpoint') && line.endpoint_id === endpoint.id,
  );
  const attempts = async () => (await endpoint.deliveries()).reduce((sum, row) => sum + row.attempts, 0);
  const before = await attempts();
  expect(before).toBe(10);
  await endpoint.due();
  await app.events(1, 'pairing_code.expired');
  await other.got(2);
  expect(await attempts()).toBe(before);
  await healthy.settled();

  const { url } = await own.log.waitFor(({ message }) => message === 'metrics');
  const openCircuits = async () =>
    Number(/^scsp_webhook_circuits_open (.+)$/m.exec(await (await fetch(String(url))).text())?.[1]);
  expect(await openCircuits()).toBe(1);
  // Nobody closes the circuit of a deleted endpoint.
  await endpoint.request('DELETE');
  const now = performance.now.bind(performance);
  const later = jest.spyOn(performance, 'now').mockImplementation(() => now() + 30_000);
  try {
    expect(await openCircuits()).toBe(0);
  } finally {
    later.mockRestore();
  }
  await own.stop();
});

test('two replicas never have more than ten calls to an endpoint in flight, and deliver each event once', async () => {
  const replica = await startHarness(SETTINGS, { databaseUrl: service.databaseUrl });
  // Answers when ten are open and an eleventh has had time to come.
  const open: ServerResponse[] = [];
  const answerAll = () => {
    for (const res of open.splice(0)) res.end();
  };
  const [app, receiver] = [
    await startApp(service),
    await startReceiver((res) => {
      if (open.push(res) === 10) setTimeout(answerAll, 30);
    }),
  ];
  const endpoint = await app.endpoint({ url: receiver.url });
  const ids = await app.events(150);
  await receiver.got(150);
  await endpoint.settled();
  expect(receiver.most).toBe(10);
  expect(receiver.ids().sort()).toEqual([...ids].sort());
  await replica.stop();
});

test('a lease that its process did not end runs out, and the event is delivered', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver(() => {})];
  const endpoint = await app.endpoint({ url: receiver.url });
  await app.events(1);
  await receiver.got(1);
  const [leased] = await endpoint.deliveries();
  const leaseSeconds = (leased.leased_until.getTime() - Date.now()) / 1_000;
  expect(leaseSeconds).toBeGreaterThan(DEADLINE_MS / 1_000 + 5);
  expect(leaseSeconds).toBeLessThanOrEqual(30);
  receiver.answer = answerStatus(200);
  // As it is after the lease of a process that died.
  await service.sql.query(
    `update webhook_deliveries set leased_until = now() - interval '1 second', next_attempt_at = now() where endpoint_id = $1`,
    [endpoint.id],
  );
  await receiver.got(2);
  await untilSo(async () => (await endpoint.list())[0].status === 'delivered');
  expect(new Set(receiver.ids()).size).toBe(1);
  await receiver.down();
});

test('a call that ends because the service stops is no failure of the endpoint, and is made by the next process', async () => {
  const replica = await startHarness(SETTINGS);
  const [app, receiver] = [await startApp(replica), await startReceiver(() => {})];
  const endpoint = await app.endpoint({ url: receiver.url });
  await app.events(1);
  await receiver.got(1);
  const began = performance.now();
  await replica.stopDelivery();
  expect(seconds(began)).toBeLessThan(5);
  expect((await endpoint.deliveries())[0]).toMatchObject({ attempts: 0, status: 'pending', leased_until: null });
  expect(await endpoint.row()).toMatchObject({ failures: 0, failing_since: null });
  await receiver.down();
  await replica.stop();
});

test('a success after many updates the endpoint only now and then', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver()];
  const endpoint = await app.endpoint({ url: receiver.url });
  await app.events(1);
  await endpoint.settled();
  const version = async () =>
    (await service.sql.query('select xmin::text from webhook_endpoints where id = $1', [endpoint.id])).rows[0].xmin;
  await endpoint.set("last_success_at = now() + interval '1 hour'");
  const before = await version();
  await app.events(20);
  await endpoint.settled();
  expect(await version()).toBe(before);
  await endpoint.set(`last_success_at = now() - interval '1 hour'`);
  await app.events(1);
  await endpoint.settled();
  expect((await endpoint.row()).last_success_at.getTime()).toBeGreaterThan(Date.now() - 60_000);
});

describe('as it ships', () => {
  test('the times and bounds are these', () => {
    const hour = 3_600;
    expect({ CONNECT_MS, DEADLINE_MS, ENGINE_LIMITS, MAX_ENDPOINTS, PAUSES }).toEqual({
      CONNECT_MS: 5_000,
      DEADLINE_MS: 15_000,
      ENGINE_LIMITS: { calls: 512, pollMs: 1_000, finishMs: 2_000, stopMs: 5_000 },
      MAX_ENDPOINTS: 10,
      PAUSES: [5, 30, 300, 1_800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour],
    });
  });

  test('a pause varies by a fifth in both directions, and there is none after the eleventh attempt', () => {
    const drawn = (value: number) => ({ ...random, bytes: () => Buffer.from(new Uint32Array([value]).buffer) });
    expect(pauseSeconds(drawn(0), 1, undefined)).toBeCloseTo(4);
    expect(pauseSeconds(drawn(0xffff_ffff), 10, undefined)).toBeCloseTo(24 * 3_600 * 1.2);
    expect(pauseSeconds(random, 11, '5')).toBeUndefined();
  });

  test.each([
    ['17', 17],
    ['Sun, 29 Nov 2026 12:00:30 GMT', 30],
    ['Sun, 29 Nov 2026 11:00:00 GMT', 0],
    ['-5', 0],
    ['1e9', 0],
    ['2026-11-30', 0],
    ['', 0],
    [undefined, 0],
  ])('a Retry-After of %s is %i s', (header, expected) => {
    expect(retryAfterSeconds(header, Date.parse('2026-11-29T12:00:00Z'))).toBe(expected);
  });
});

test('a call to an endpoint that does not answer ends after 15 s', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver(() => {})];
  const endpoint = await app.endpoint({ url: receiver.url });
  const { body } = await endpoint.request('POST', '/test');
  expect(body).toEqual({
    delivered: false,
    duration_ms: expect.any(Number),
    error: 'The endpoint did not answer within 15 s.',
  });
  expect(body.duration_ms).toBeGreaterThanOrEqual(14_990);
  expect(body.duration_ms).toBeLessThan(20_000);
});
