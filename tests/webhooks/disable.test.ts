import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { createMetrics } from '../../src/metrics/metrics';
import { checkEndpoints, disableByService } from '../../src/webhooks/disable';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { type Endpoint, startApp } from '../harness/an-app';
import { eventsAfter } from '../harness/feed';
import { type Harness, recordedLog, SECRET_KEY, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

/** A context with a log and metrics of its own. */
function ownContext(stopping = new AbortController().signal) {
  const { log, lines } = recordedLog();
  const metrics = createMetrics(log);
  const { config, db } = service;
  const keys = deriveKeys(SECRET_KEY);
  return { lines, metrics, ctx: { config, db, listener: undefined as never, log, metrics, random, keys, stopping } };
}

/** Runs the job that runs every minute; returns its log and metrics. */
async function check(stopping?: AbortSignal) {
  const { ctx, lines, metrics } = ownContext(stopping);
  await checkEndpoints(ctx);
  return { lines, metrics };
}

const statuses = (list: any[]) => list.map(({ event_id, status }) => [event_id, status]);
const eventsOf = async (app: { token: string }, id: string) => {
  const { body } = await eventsAfter(
    service,
    'types=webhook_endpoint.failing,webhook_endpoint.disabled&limit=500',
    app.token,
  );
  return body.items.filter((event: any) => event.data.endpoint_id === id);
};
const theEvents = async (app: { token: string }, id: string, count: number) => {
  await untilSo(async () => (await eventsOf(app, id)).length >= count);
  return eventsOf(app, id);
};

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

describe('while an endpoint is disabled', () => {
  const disabled = async (answer = answerStatus(500)) => {
    const [app, receiver] = [await startApp(service), await startReceiver(answer)];
    const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
    const before = await app.events(3);
    await endpoint.attempted(1);
    expect((await endpoint.request('PATCH', '', { status: 'disabled' })).body).toMatchObject({
      status: 'disabled',
      disabled_reason: 'app',
    });
    return { app, receiver, endpoint, before };
  };

  test('its events are skipped, those that were pending too, and can be redelivered after it was enabled', async () => {
    const { app, receiver, endpoint, before } = await disabled();
    const missed = await app.events(4);
    await app.events(2, 'pairing_code.expired');
    const all = [...before, ...missed].reverse();
    expect(statuses(await endpoint.list())).toEqual(all.map((id) => [id, 'skipped']));
    expect(statuses(await endpoint.list('&status=skipped'))).toEqual(all.map((id) => [id, 'skipped']));
    for (const status of ['pending', 'failed', 'delivered'])
      expect(await endpoint.list(`&status=${status}`)).toEqual([]);
    expect((await endpoint.list())[0]).toEqual({
      event_id: missed.at(-1),
      type: 'cpo.notified',
      position: expect.any(String),
      status: 'skipped',
      attempts: 0,
    });

    receiver.answer = answerStatus(200);
    const enabled = (await endpoint.request('PATCH', '', { status: 'enabled' })).body;
    expect(enabled).not.toHaveProperty('disabled_reason');
    expect(enabled).not.toHaveProperty('failing_since');
    expect(enabled.status).toBe('enabled');
    const later = await app.events(1);
    await receiver.got(4);
    await endpoint.settled();
    expect(receiver.ids().slice(3)).toEqual(later);
    expect(statuses(await endpoint.list())).toEqual([[later[0], 'delivered'], ...all.map((id) => [id, 'skipped'])]);

    const pages: any[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await endpoint.request('GET', `/deliveries?limit=3${cursor}`);
      pages.push(...body.items);
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(statuses(pages)).toEqual([[later[0], 'delivered'], ...all.map((id) => [id, 'skipped'])]);

    expect((await endpoint.request('POST', '/redeliver', { event_id: missed[0] })).status).toBe(202);
    await receiver.got(5);
    await endpoint.settled();
    expect(statuses(await endpoint.list('&status=skipped'))).toEqual(
      all.filter((id) => id !== missed[0]).map((id) => [id, 'skipped']),
    );
    expect((await endpoint.request('POST', '/redeliver', { since: '2020-01-01T00:00:00Z' })).status).toBe(202);
    await receiver.got(5 + 8);
    await untilSo(async () => (await endpoint.row()).redeliver_until === null);
    await endpoint.settled();
    expect(statuses(await endpoint.list())).toEqual([...later, ...all].map((id) => [id, 'delivered']));
    expect(receiver.ids().slice(5).sort()).toEqual([...before, ...missed, ...later].sort());
  });

  test('an event can be redelivered neither at once nor since', async () => {
    const { endpoint, before } = await disabled();
    for (const body of [{ event_id: before[0] }, { since: '2020-01-01T00:00:00Z' }]) {
      const answer = await endpoint.request('POST', '/redeliver', body);
      expect([answer.status, answer.body.type]).toEqual([409, '/problems/endpoint-disabled']);
    }
  });

  test('a call that was in flight is recorded when it succeeds', async () => {
    let respond = () => {};
    const [app, receiver] = [
      await startApp(service),
      await startReceiver((res) => {
        respond = () => res.writeHead(200).end();
      }),
    ];
    const endpoint = await app.endpoint({ url: receiver.url });
    const [id] = await app.events(1);
    await receiver.got(1);
    await endpoint.request('PATCH', '', { status: 'disabled' });
    expect(statuses(await endpoint.list('&status=skipped')).at(-1)).toEqual([id, 'skipped']);
    respond();
    await untilSo(async () => (await endpoint.list('&status=delivered')).length === 1);
  });

  test('disabling and enabling twice skips what was published in both times, each event once', async () => {
    const { app, endpoint, before } = await disabled(answerStatus(200));
    const first = await app.events(2);
    await endpoint.request('PATCH', '', { status: 'enabled' });
    const between = await app.events(1);
    await endpoint.settled();
    await endpoint.request('PATCH', '', { status: 'disabled' });
    await endpoint.request('PATCH', '', { status: 'disabled' });
    const second = await app.events(2);
    await endpoint.request('PATCH', '', { status: 'enabled' });
    await endpoint.request('PATCH', '', { status: 'enabled' });
    const expected = [
      ...before.map((id) => [id, 'delivered']),
      ...first.map((id) => [id, 'skipped']),
      ...between.map((id) => [id, 'delivered']),
      ...second.map((id) => [id, 'skipped']),
    ].reverse();
    expect(statuses(await endpoint.list())).toEqual(expected);
    expect(await eventsOf(app, endpoint.id)).toHaveLength(2);
  });

  test('enabling waits for events that are being published, which are then skipped', async () => {
    const { app, endpoint } = await disabled(answerStatus(200));
    const publisher = await service.sql.connect();
    await publisher.query('begin');
    // Another publisher may hold the lock for a moment.
    await publisher.query('select from event_feed for update');
    const { rows } = await publisher.query(
      `insert into events (id, type, app_name, pairing_id, cpo_id)
       values (gen_random_uuid(), 'cpo.notified', $1, gen_random_uuid(), gen_random_uuid()) returning id`,
      [app.name],
    );
    await publisher.query('select * from scsp_publish_events_v2(500)');
    const enabling = endpoint.request('PATCH', '', { status: 'enabled' });
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    const early = Symbol();
    const answered = enabling.then(() => early);
    const locked = untilSo(async () => (await service.sql.query(waiting)).rowCount !== 0, 1_000).catch(() => undefined);
    const first = await Promise.race([answered, locked]);
    await publisher.query('commit');
    publisher.release();
    expect([first, (await enabling).status]).toEqual([undefined, 200]);
    expect(statuses(await endpoint.list())[0]).toEqual([rows[0].id, 'skipped']);
  });

  test('events that are published at the same moment are delivered or skipped, none is lost', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
    const publishing = Promise.all(Array.from({ length: 20 }, () => app.events(2)));
    for (let i = 0; i < 6; i++) {
      const { status } = await endpoint.request('PATCH', '', { status: i % 2 === 0 ? 'disabled' : 'enabled' });
      expect(status).toBe(200);
    }
    const ids = (await publishing).flat();
    await endpoint.settled();
    const list = await endpoint.list();
    expect(list.map(({ event_id }) => event_id).sort()).toEqual(ids.sort());
    expect(list.filter(({ status }) => status !== 'delivered' && status !== 'skipped')).toEqual([]);
  });
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

describe('the pending deliveries of a disabled endpoint', () => {
  /** An endpoint with pending deliveries that are not due. */
  const waiting = async (count: number) => {
    const endpoint = await (await startApp(service)).endpoint({ url: 'https://8.8.8.8/', types: ['feed.restarted'] });
    await service.sql.query(
      `insert into webhook_deliveries (endpoint_id, position, next_attempt_at)
       select $1, 1000000000 + n, now() + interval '1 hour' from generate_series(1, $2::int) n`,
      [endpoint.id, count],
    );
    const stored = async () => [...new Set((await endpoint.deliveries()).map(({ status }) => status))];
    return { endpoint, stored };
  };

  test.each([
    [
      'its app',
      async (endpoint: Endpoint) => {
        expect((await endpoint.request('PATCH', '', { status: 'disabled' })).status).toBe(200);
      },
    ],
    ['the service', (endpoint: Endpoint) => disableByService(ownContext().ctx, endpoint.id, 'gone')],
  ])('are recorded as skipped by a job, for which %s does not wait', async (_who, disable) => {
    const { endpoint, stored } = await waiting(1);
    const blocking = await service.sql.connect();
    await blocking.query('begin');
    await blocking.query('select from webhook_deliveries where endpoint_id = $1 for update', [endpoint.id]);
    await disable(endpoint);
    expect(await endpoint.row()).toMatchObject({ status: 'disabled' });
    expect(await stored()).toEqual(['pending']);
    await blocking.query('commit');
    blocking.release();
    await untilSo(async () => (await stored())[0] === 'skipped');
  });

  test('are left to the next process when the service stops', async () => {
    const { endpoint, stored } = await waiting(1);
    await endpoint.set(`status = 'disabled', disabled_after = 0`);
    await check(AbortSignal.abort());
    expect(await stored()).toEqual(['pending']);
    await check();
    expect(await stored()).toEqual(['skipped']);
  });

  test('delay enabling it for 2 s at most, then the answer is 503', async () => {
    const { endpoint, stored } = await waiting(10_000);
    await endpoint.set(`status = 'disabled', disabled_after = 0`);
    await service.sql.query(`create function dawdle() returns trigger language plpgsql as $$
      begin perform pg_sleep(0.7); return null; end $$`);
    await service.sql.query(
      'create trigger dawdling before update on webhook_deliveries for each statement execute function dawdle()',
    );
    const refused = await endpoint.request('PATCH', '', { status: 'enabled' });
    await service.sql.query('drop trigger dawdling on webhook_deliveries');
    expect([refused.status, refused.headers.get('Retry-After')]).toEqual([503, expect.stringMatching(/^\d+$/)]);
    expect((await endpoint.row()).status).toBe('disabled');
    expect((await endpoint.request('PATCH', '', { status: 'enabled' })).status).toBe(200);
    expect(await stored()).toEqual(['skipped']);
  });
});

describe('a redelivery', () => {
  test('needs exactly one of event_id and since', async () => {
    const endpoint = await (await startApp(service)).endpoint({ url: 'https://8.8.8.8/' });
    for (const [body, pointer] of [
      [{}, '/event_id'],
      [{ event_id: endpoint.id, since: '2020-01-01T00:00:00Z' }, '/since'],
    ] as const) {
      const answer = await endpoint.request('POST', '/redeliver', body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, pointer]);
    }
  });

  test('of an event that is not for the endpoint is a 404', async () => {
    const [app, other] = [await startApp(service), await startApp(service)];
    const endpoint = await app.endpoint({ url: 'https://8.8.8.8/', types: ['cpo.notified'] });
    const [expired] = await app.events(1, 'pairing_code.expired');
    const [foreign] = await other.events(1);
    for (const event_id of [expired, foreign, endpoint.id]) {
      const answer = await endpoint.request('POST', '/redeliver', { event_id });
      expect([answer.status, answer.body.type]).toEqual([404, '/problems/not-found']);
    }
  });

  test('since an instant sends the events since then, from before the endpoint too, in order and in batches', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const old = await app.events(300);
    await service.sql.query(
      `update events set occurred_at = occurred_at - interval '2 days', published_at = published_at - interval '2 days'
       where position <= (select max(position) from events where id = any ($1))`,
      [old],
    );
    const recent = await app.events(1_200);
    const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
    const since = new Date(Date.now() - 24 * 3_600_000).toISOString();
    expect((await endpoint.request('POST', '/redeliver', { since })).status).toBe(202);
    await receiver.got(1_200);
    await untilSo(async () => (await endpoint.row()).redeliver_until === null);
    await endpoint.settled();
    expect(receiver.ids().sort()).toEqual([...recent].sort());
    expect((await endpoint.deliveries()).length).toBe(1_200);
  });

  test('does not wait for deliveries that wait for their next attempt', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
    await service.sql.query(
      `insert into webhook_deliveries (endpoint_id, position, next_attempt_at)
       select $1, 1000000000 + n, now() + interval '1 hour' from generate_series(1, 1001) n`,
      [endpoint.id],
    );
    const [id] = await app.events(1);
    await receiver.got(1);
    expect((await endpoint.request('POST', '/redeliver', { since: '2020-01-01T00:00:00Z' })).status).toBe(202);
    await receiver.got(2);
    expect(receiver.ids()).toEqual([id, id]);
  });

  test.each(['2026-02-30T12:00:00Z', '2026-01-01T24:00:00Z'])('since %s is refused', async (since) => {
    const endpoint = await (await startApp(service)).endpoint({ url: 'https://8.8.8.8/' });
    const answer = await endpoint.request('POST', '/redeliver', { since });
    expect([answer.status, answer.body.errors?.[0].pointer]).toEqual([400, '/since']);
  });

  test('since a leap second is possible', async () => {
    const endpoint = await (await startApp(service)).endpoint({ url: 'https://8.8.8.8/' });
    expect((await endpoint.request('POST', '/redeliver', { since: '2016-12-31T23:59:60Z' })).status).toBe(202);
  });

  test('waits while more than 1,000 deliveries are due, and is the only one of its endpoint', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(200))];
    const ids = await app.events(1_600);
    const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
    receiver.answer = () => {};
    expect((await endpoint.request('POST', '/redeliver', { since: '2020-01-01T00:00:00Z' })).status).toBe(202);
    await receiver.got(10);
    await untilSo(async () => (await endpoint.deliveries()).length === 1_500);
    for (const body of [{ event_id: ids[0] }, { since: '2020-01-01T00:00:00Z' }]) {
      const answer = await endpoint.request('POST', '/redeliver', body);
      expect([answer.status, answer.body.type]).toEqual([409, '/problems/redelivery-in-progress']);
    }
    expect((await endpoint.deliveries()).length).toBe(1_500);
    await endpoint.request('PATCH', '', { status: 'disabled' });
    expect(await endpoint.row()).toMatchObject({ redeliver_after: null, redeliver_until: null, redeliver_since: null });
    await receiver.down();
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
