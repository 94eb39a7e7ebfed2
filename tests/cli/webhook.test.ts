import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { Webhook } from 'standardwebhooks';
import { command, refusal, wrongUsage } from '../harness/a-command';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { type Harness, SECRET_KEY, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const settings = () => ({ DATABASE_URL: service.databaseUrl, SANDBOX: 'true' });
const scsp = (...args: string[]) => command(settings(), ['webhook', ...args]);
async function json(...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await scsp(...args, '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

const auditOf = async (id: string): Promise<any[]> =>
  (await service.sql.query('select actor, action, detail from audit where subject_id = $1 order by id', [id])).rows;

test('the list shows the endpoints of every app, or of one, and never a secret', async () => {
  const receiver = await startReceiver();
  const [one, other] = [await startApp(service), await startApp(service)];
  const first = await one.endpoint({ url: receiver.url, types: ['station.paired'], description: 'mine' });
  const second = await other.endpoint({ url: receiver.url });
  const all = await json('list');
  expect(all.map(({ id }: any) => id)).toEqual(expect.arrayContaining([first.id, second.id]));
  expect(await json('list', '--app', one.name)).toEqual([
    {
      id: first.id,
      app: one.name,
      url: receiver.url,
      types: ['station.paired'],
      description: 'mine',
      status: 'enabled',
      created_at: expect.any(String),
    },
  ]);
  const { stdout } = await scsp('list');
  expect(stdout).toMatch(/^ID +APP +URL +STATUS +DISABLED REASON +FAILING SINCE +LAST SUCCESS AT\n/);
  for (const { secret } of [first, second]) expect(stdout + JSON.stringify(all)).not.toContain(secret);
});

test('a test event is sent signed, with the keys of the service, and says what came of it', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  const { id, secret } = await app.endpoint({ url: receiver.url });
  const send = () => command({ ...settings(), SECRET_KEY }, ['webhook', 'test', id, '--json']);
  expect(JSON.parse((await send()).stdout)).toEqual({ delivered: true, status: 204, duration_ms: expect.any(Number) });
  const [{ headers, body } = { headers: {}, body: '' }] = receiver.received;
  expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toMatchObject({
    type: 'webhook.test',
    data: { endpoint_id: id },
  });
  receiver.answer = answerStatus(401);
  expect(JSON.parse((await send()).stdout)).toMatchObject({ delivered: false, status: 401, error: expect.any(String) });
  const audited = { actor: userInfo().username, action: 'webhook.test', detail: { app: app.name } };
  expect((await auditOf(id)).slice(1)).toEqual([audited, audited]);
  expect(await scsp('test', id)).toEqual(refusal('SECRET_KEY must be set to the key of the service'));
});

test('an operator disables and enables an endpoint of any app, which the audit log and the events say', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  const { id } = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
  const disabled = await json('disable', id.toUpperCase());
  expect(disabled).toMatchObject({ id, app: app.name, status: 'disabled', disabled_reason: 'operator' });
  expect(await json('disable', id)).toEqual(disabled);

  const [skipped] = await app.events(1);
  expect(await json('deliveries', id, '--status', 'skipped')).toMatchObject([{ event_id: skipped, status: 'skipped' }]);
  expect(await json('enable', id)).toMatchObject({ id, status: 'enabled' });

  const actor = userInfo().username;
  expect((await auditOf(id)).slice(1)).toMatchObject([
    { actor, action: 'webhook.disable', detail: { app: app.name, reason: 'operator' } },
    { actor, action: 'webhook.change', detail: { app: app.name, status: 'enabled' } },
  ]);
  const { rows } = await service.sql.query('select type, reason from events where endpoint_id = $1', [id]);
  expect(rows).toEqual([{ type: 'webhook_endpoint.disabled', reason: 'operator' }]);
});

test('deliveries are listed and delivered again, one or all since a time, under the same ids', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
  const since = new Date(Date.now() - 60_000).toISOString();
  const [first, second] = await app.events(2);
  await receiver.got(2);
  await endpoint.settled();
  const listed = await json('deliveries', endpoint.id);
  expect(listed.map(({ event_id, status }: any) => [event_id, status])).toEqual([
    [second, 'delivered'],
    [first, 'delivered'],
  ]);
  expect((await scsp('deliveries', endpoint.id, '--limit', '1')).stdout).toMatch(/^EVENT ID +TYPE +STATUS .*\n.*\n$/);

  expect(await json('redeliver', endpoint.id, '--event', String(first))).toEqual({ id: endpoint.id, event_id: first });
  await receiver.got(3);
  await endpoint.settled();
  expect(await json('redeliver', endpoint.id, '--since', since)).toEqual({ id: endpoint.id, since });
  await receiver.got(5);
  expect(receiver.ids().slice(2)).toEqual([first, ...[first, second].map(() => expect.any(String))]);
  expect(receiver.ids().slice(3).sort()).toEqual([first, second].sort());

  const audited = { actor: userInfo().username, action: 'webhook.redeliver' };
  expect((await auditOf(endpoint.id)).slice(1)).toEqual([
    { ...audited, detail: { app: app.name, event_id: first } },
    { ...audited, detail: { app: app.name, since: expect.any(String) } },
  ]);
});

test('an endpoint or event that does not exist is refused, and so is a disabled endpoint', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  const { id } = await app.endpoint({ url: receiver.url });
  for (const verb of ['test', 'enable', 'disable', 'deliveries'])
    for (const unknown of [randomUUID(), 'mine'])
      expect(await scsp(verb, unknown)).toEqual(refusal(`no webhook endpoint has the id ${unknown}`));
  for (const event of [randomUUID(), 'mine'])
    expect(await scsp('redeliver', id, '--event', event)).toEqual(
      refusal(`no event for this endpoint has the id ${event}`),
    );
  await json('disable', id);
  expect(await scsp('redeliver', id, '--since', '2026-11-28T12:00:00Z')).toMatchObject({ code: 1, stdout: '' });
  expect((await auditOf(id)).map(({ action }) => action)).toEqual(['webhook.create', 'webhook.disable']);
});

test('a redelivery needs an event or a time, and not both', async () => {
  const receiver = await startReceiver();
  const { id } = await (await startApp(service)).endpoint({ url: receiver.url });
  expect(await scsp('redeliver', id)).toEqual(wrongUsage("one of '--event <EVENT>' and '--since <TIME>' is required"));
  const both = await scsp('redeliver', id, '--event', randomUUID(), '--since', '2026-11-28T12:00:00Z');
  expect(both).toEqual(wrongUsage('cannot be used with'));
  for (const time of ['yesterday', '2026-11-28', '2026-13-28T12:00:00Z'])
    expect(await scsp('redeliver', id, '--since', time)).toEqual(wrongUsage('It must be a time such as'));
  expect(await scsp('deliveries', id, '--status', 'lost')).toEqual(wrongUsage('Allowed choices are pending'));
});
