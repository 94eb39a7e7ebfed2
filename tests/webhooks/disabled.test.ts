import { disableByService } from '../../src/webhooks/disable';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { type Endpoint, startApp } from '../harness/an-app';
import { endpointChecksOf } from '../harness/endpoint-checks';
import { type Harness, startHarness } from '../harness/harness';
import { ownContext } from '../harness/own-context';
import { untilAnswered, untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { check, eventsOf } = endpointChecksOf(() => service);

const statuses = (list: any[]) => list.map(({ event_id, status }) => [event_id, status]);

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
    ['the service', (endpoint: Endpoint) => disableByService(ownContext(service).ctx, endpoint.id, 'gone')],
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
    const enabled = () => endpoint.request('PATCH', '', { status: 'enabled' });
    expect((await untilAnswered(enabled)).status).toBe(200);
    expect(await stored()).toEqual(['skipped']);
  });
});
