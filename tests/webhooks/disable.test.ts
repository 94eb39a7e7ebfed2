import { answerStatus, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { endpointChecksOf } from '../harness/endpoint-checks';
import { eventsAfter } from '../harness/feed';
import { type Harness, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { check, theEvents } = endpointChecksOf(() => service);

test('a 410 disables an endpoint at once, with an event and a log line', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(410))];
  const endpoint = await app.endpoint({ url: receiver.url });
  await app.events(1);
  await untilSo(async () => (await endpoint.row()).status === 'disabled');
  expect((await endpoint.request('GET')).body).toMatchObject({ status: 'disabled', disabled_reason: 'gone' });
  const [event] = await theEvents(app, endpoint.id, 1);
  expect(event).toMatchObject({
    type: 'webhook_endpoint.disabled',
    data: { endpoint_id: endpoint.id, reason: 'gone', failing_since: expect.any(String) },
  });
  await service.log.waitFor((line) => line.message === 'webhook endpoint disabled' && line.endpoint_id === endpoint.id);
  expect((await endpoint.audit()).at(-1)).toMatchObject({ actor: 'scsp-pairing', action: 'webhook.disable' });
  await untilSo(async () => (await endpoint.list()).every(({ status }) => status === 'skipped'));
  const { body } = await eventsAfter(service, 'types=webhook_endpoint.disabled', (await startApp(service)).token);
  expect(body.items.filter((one: any) => one.data.endpoint_id === endpoint.id)).toEqual([]);
});

describe('the outcome of a call to the URL that an endpoint had before', () => {
  const moved = async (status: number, columns: string) => {
    let respond = () => {};
    const [app, receiver] = [
      await startApp(service),
      await startReceiver((res) => {
        respond = () => res.writeHead(status).end();
      }),
    ];
    const endpoint = await app.endpoint({ url: receiver.url });
    await app.events(1);
    await receiver.got(1);
    const next = await startReceiver();
    await endpoint.request('PATCH', '', { url: next.url });
    await endpoint.set(columns);
    respond();
    await endpoint.attempted(1);
    return { endpoint, next };
  };

  test('410 neither disables it nor counts as its failure, and the event goes to the new URL', async () => {
    const { endpoint, next } = await moved(410, 'failures = 0');
    expect(await endpoint.row()).toMatchObject({ status: 'enabled', failures: 0, failing_since: null });
    await endpoint.due();
    await next.got(1);
    await endpoint.settled();
    expect((await endpoint.row()).status).toBe('enabled');
  });

  test('204 delivers the event, and does not end the failures of the new URL', async () => {
    const { endpoint } = await moved(204, 'failures = 3, failing_since = now()');
    expect(await endpoint.row()).toMatchObject({ failures: 3, failing_since: expect.any(Date), last_success_at: null });
    expect(await endpoint.list()).toMatchObject([{ status: 'delivered' }]);
  });
});

describe('an endpoint without a success', () => {
  const failing = async (columns: string) => {
    const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(500))];
    const other = await app.endpoint({ url: 'https://8.8.8.8/', types: ['feed.restarted'] });
    const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
    await app.events(1);
    await endpoint.attempted(1);
    await endpoint.set(columns);
    return { app, receiver, endpoint, other };
  };

  test('is announced after 96 h and disabled after 120 h, in this order', async () => {
    const { app, receiver, endpoint, other } = await failing(
      `failures = 20, failing_since = now() - interval '121 hours'`,
    );
    const first = await check();
    expect((await endpoint.request('GET')).body.status).toBe('enabled');
    const [announced] = await theEvents(app, endpoint.id, 1);
    const { failing_since } = await endpoint.row();
    expect(announced).toMatchObject({
      type: 'webhook_endpoint.failing',
      data: { endpoint_id: endpoint.id, failing_since: failing_since.toISOString() },
    });
    expect(first.lines.map(({ level, endpoint_id }) => [level, endpoint_id])).toEqual([['warn', endpoint.id]]);
    expect(await first.metrics.registry.getSingleMetricAsString('scsp_webhook_endpoints_failing_total')).toContain(
      ' 1',
    );

    await endpoint.set(`announced_at = now() - interval '23 hours 59 minutes'`);
    await check();
    expect((await endpoint.request('GET')).body.status).toBe('enabled');
    await endpoint.set(`announced_at = now() - interval '24 hours 1 minute'`);
    const last = await check();
    expect((await endpoint.request('GET')).body).toMatchObject({ status: 'disabled', disabled_reason: 'failing' });
    expect((await theEvents(app, endpoint.id, 2)).map(({ type }: any) => type)).toEqual([
      'webhook_endpoint.failing',
      'webhook_endpoint.disabled',
    ]);
    expect(last.lines.map(({ level, endpoint_id }) => [level, endpoint_id])).toEqual([['warn', endpoint.id]]);
    expect(await last.metrics.registry.getSingleMetricAsString('scsp_webhook_endpoints_disabled_total')).toContain(
      '{reason="failing"} 1',
    );
    expect((await other.request('GET')).body.status).toBe('enabled');
    const calls = receiver.received.length;
    await app.events(1);
    await endpoint.due();
    await check();
    expect(receiver.received).toHaveLength(calls);
  });

  test.each([
    ['with fewer than 20 failures', `failures = 19, failing_since = now() - interval '200 hours'`],
    ['for less than 96 h', `failures = 500, failing_since = now() - interval '95 hours 59 minutes'`],
  ])('%s is not announced', async (_what, columns) => {
    const { endpoint } = await failing(columns);
    await check();
    expect(await endpoint.row()).toMatchObject({ status: 'enabled', announced_at: null });
  });

  test('that has one after all is not disabled', async () => {
    const { receiver, endpoint } = await failing(
      `failures = 20, failing_since = now() - interval '121 hours', announced_at = now() - interval '25 hours'`,
    );
    receiver.answer = answerStatus(200);
    await endpoint.due();
    await endpoint.settled();
    await check();
    expect(await endpoint.row()).toMatchObject({
      status: 'enabled',
      failures: 0,
      failing_since: null,
      announced_at: null,
    });
  });
});

test('the endpoints of an app without a live token are disabled, and no others', async () => {
  const [app, expired, other] = [await startApp(service), await startApp(service), await startApp(service)];
  const again = await startApp(service, app.name);
  const endpoints = [];
  for (const one of [app, expired, other]) endpoints.push(await one.endpoint({ url: 'https://8.8.8.8/' }));
  await service.sql.query('update tokens set revoked_at = now() where id = $1', [app.tokenId]);
  await service.sql.query('update tokens set expires_at = now() where id = $1', [expired.tokenId]);
  await check();
  expect(await Promise.all(endpoints.map(async (one) => (await one.row()).status))).toEqual([
    'enabled',
    'disabled',
    'enabled',
  ]);
  await service.sql.query('update tokens set revoked_at = now() where id = $1', [again.tokenId]);
  await check();
  const rows = await Promise.all(endpoints.map((one) => one.row()));
  expect(rows.map(({ disabled_reason }) => disabled_reason)).toEqual(['no-live-token', 'no-live-token', null]);
});

describe('disabling and enabling an endpoint', () => {
  test('does not lock the feed while the endpoint is locked', async () => {
    const endpoint = await (await startApp(service)).endpoint({ url: 'https://8.8.8.8/' });
    for (const status of ['disabled', 'enabled']) {
      const blocking = await service.sql.connect();
      await blocking.query('begin');
      await blocking.query('select from webhook_endpoints where id = $1 for update', [endpoint.id]);
      const changing = endpoint.request('PATCH', '', { status });
      const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      await untilSo(async () => (await service.sql.query(waiting)).rowCount !== 0);
      // The lock of a publisher is released at once.
      await untilSo(
        async () => (await service.sql.query('select from event_feed for update skip locked')).rowCount === 1,
        1_000,
      );
      await blocking.query('commit');
      blocking.release();
      expect((await changing).status).toBe(200);
    }
  });

  test('is refused after ten times within a minute, whichever endpoint of the app it is', async () => {
    const app = await startApp(service);
    const [endpoint, other] = [
      await app.endpoint({ url: 'https://8.8.8.8/' }),
      await app.endpoint({ url: 'https://8.8.8.8/' }),
    ];
    for (let n = 0; n < 10; n++) {
      const status = n % 2 === 0 ? 'disabled' : 'enabled';
      expect((await endpoint.request('PATCH', '', { status })).status).toBe(200);
    }
    await endpoint.request('DELETE');
    const refused = await other.request('PATCH', '', { status: 'disabled' });
    expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-requests']);
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(40);
    expect((await other.request('PATCH', '', { status: 'enabled', description: 'ours' })).status).toBe(200);
    expect((await other.row()).status).toBe('enabled');
  });

  test('again and again makes one gap as long as nothing is published between', async () => {
    const app = await startApp(service);
    const endpoint = await app.endpoint({ url: 'https://8.8.8.8/', types: ['feed.restarted'] });
    const gaps = async () =>
      (await service.sql.query('select * from webhook_gaps where endpoint_id = $1', [endpoint.id])).rows;
    for (let n = 1; n <= 3; n++) {
      await endpoint.request('PATCH', '', { status: 'disabled' });
      await theEvents(app, endpoint.id, n);
      await endpoint.request('PATCH', '', { status: 'enabled' });
      expect(await gaps()).toHaveLength(1);
    }
  });
});

test('a deleted endpoint gets nothing any more', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(500))];
  const [endpoint, other] = [await app.endpoint({ url: receiver.url }), await app.endpoint({ url: receiver.url })];
  await app.events(1);
  await Promise.all([endpoint.attempted(1), other.attempted(1)]);
  await endpoint.request('DELETE');
  await Promise.all([endpoint.due(), other.due()]);
  await other.attempted(2);
  await app.events(1);
  await receiver.got(4);
  await untilSo(async () => (await other.deliveries()).every(({ leased_until }) => leased_until === null));
  expect(receiver.received).toHaveLength(4);
  expect(await endpoint.deliveries()).toHaveLength(1);
});
