import { answerStatus, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { type Harness, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

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
