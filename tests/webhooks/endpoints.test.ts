import { randomUUID } from 'node:crypto';
import { startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { type Harness, startHarness } from '../harness/harness';
import { untilAnswered } from '../harness/until';

const PATH = '/v1/app/webhook-endpoints';
let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const PUBLIC = 'https://8.8.8.8/events';
const audit = async (subject: string) =>
  (await service.sql.query('select actor, action, detail from audit where subject_id = $1 order by id', [subject]))
    .rows;

test('an endpoint is created with a secret that is shown once, and kept as it was sent', async () => {
  const app = await startApp(service);
  const url = 'HTTPS://8.8.8.8:8443/hook?env=production&x';
  const created = await app.request('POST', '', { url, types: ['station.paired'], description: 'ours' });
  service.secrets.add(created.body.secret);
  expect(created.status).toBe(201);
  expect(created.headers.get('Location')).toBe(`${PATH}/${created.body.id}`);
  const { secret, ...endpoint } = created.body;
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  expect(endpoint).toEqual({
    id: expect.any(String),
    url,
    types: ['station.paired'],
    description: 'ours',
    status: 'enabled',
    created_at: expect.any(String),
  });
  expect((await app.request('GET', `/${endpoint.id}`)).body).toEqual(endpoint);
  expect((await app.request('GET', '')).body).toEqual({ items: [endpoint], next_cursor: null });
});

test('the secret is encrypted in the database', async () => {
  const app = await startApp(service);
  const { id, secret } = await app.endpoint({ url: PUBLIC });
  const { rows } = await service.sql.query('select secret from webhook_secrets where endpoint_id = $1', [id]);
  expect(rows).toHaveLength(1);
  expect(rows[0].secret.includes(Buffer.from(secret.slice(6), 'base64'))).toBe(false);
  expect(rows[0].secret.toString('latin1')).not.toContain(secret.slice(6));
});

test('an app sees and changes only its own endpoints', async () => {
  const [app, other] = [await startApp(service), await startApp(service)];
  const { id } = await app.endpoint({ url: PUBLIC });
  expect((await other.request('GET', '')).body.items).toEqual([]);
  for (const path of [id, randomUUID(), 'x', `${id}0`])
    for (const [method, rest, body] of [
      ['GET', ''],
      ['PATCH', '', { status: 'disabled' }],
      ['DELETE', ''],
      ['POST', '/rotate-secret', {}],
      ['POST', '/test'],
      ['GET', '/deliveries'],
      ['POST', '/redeliver', { since: '2026-01-01T00:00:00Z' }],
      ['POST', '/redeliver', { event_id: randomUUID() }],
    ] as const) {
      const { status, body: problem } = await other.request(method, `/${path}${rest}`, body);
      expect([method, rest, status, problem.type]).toEqual([method, rest, 404, '/problems/not-found']);
    }
  expect((await app.request('GET', `/${id}`)).body.status).toBe('enabled');
});

test('of 30 endpoints that an app with 4 creates at the same time, 6 are created', async () => {
  const app = await startApp(service);
  for (let i = 0; i < 4; i++) await app.endpoint({ url: PUBLIC });
  // So long after it has counted the endpoints, each is inserted.
  await service.sql.query(`create function linger() returns trigger language plpgsql as $$
    begin perform pg_sleep(0.05); return new; end $$`);
  await service.sql.query(
    'create trigger lingering before insert on webhook_endpoints for each row execute function linger()',
  );
  const answers = await Promise.all(
    Array.from({ length: 30 }, () => untilAnswered(() => app.request('POST', '', { url: PUBLIC }))),
  );
  await service.sql.query('drop trigger lingering on webhook_endpoints');
  for (const { body } of answers) if (body.secret) service.secrets.add(body.secret);
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(6);
  const refused = answers.filter(({ status }) => status !== 201);
  expect(new Set(refused.map(({ status, body }) => `${status} ${body.type}`))).toEqual(
    new Set(['409 /problems/too-many-endpoints']),
  );
  const { items } = (await app.request('GET', '')).body;
  expect(items).toHaveLength(10);
  await app.request('DELETE', `/${items[0].id}`);
  await app.endpoint({ url: PUBLIC });
  await (await startApp(service)).endpoint({ url: PUBLIC });
});

test('endpoints are listed oldest first, a page at a time', async () => {
  const app = await startApp(service);
  const ids = [];
  for (let i = 0; i < 5; i++) ids.push((await app.endpoint({ url: PUBLIC })).id);
  const first = (await app.request('GET', '?limit=3')).body;
  const second = (await app.request('GET', `?limit=3&cursor=${first.next_cursor}`)).body;
  expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(ids);
  expect(second.next_cursor).toBeNull();
});

test.each([
  ['https://user@app.example/', 'user'],
  ['https://user:secret@app.example/', 'user'],
  ['https://app.example/#there', 'fragment'],
  ['https://app.example/#', 'fragment'],
  ['ftp://app.example/', 'https://'],
  ['app.example/hook', 'https://'],
  ['https://app.example/a b', 'spaces'],
  ['https://8.8.8.8\\secret?x', 'backslashes'],
  ['https://10.0.0.1/', 'private'],
  ['https://169.254.169.254/latest', 'private'],
  ['https://0x0a000001/', 'private'],
  ['https://[fd00::1]/', 'private'],
  ['https://[::ffff:10.0.0.1]/', 'private'],
])('%s is refused', async (url, reason) => {
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: PUBLIC });
  for (const answer of [await app.request('POST', '', { url }), await endpoint.request('PATCH', '', { url })]) {
    expect([answer.status, answer.body.type]).toEqual([400, '/problems/invalid-request']);
    expect(answer.body.errors).toEqual([{ pointer: '/url', message: expect.stringContaining(reason) }]);
  }
});

describe('outside the sandbox', () => {
  let production: Harness;
  beforeAll(async () => {
    production = await startHarness({ SANDBOX: 'false' });
  });
  afterAll(() => production.stop());

  test.each(['http://app.example/', 'https://127.0.0.1/', 'https://[::1]/', 'https://localhost/', 'http://127.0.0.1/'])(
    '%s is refused',
    async (url) => {
      const app = await startApp(production);
      const answer = await app.request('POST', '', { url });
      expect([answer.status, answer.body.errors?.[0].pointer]).toEqual([400, '/url']);
    },
  );

  test.each(['https://127.0.0.1', 'https://localhost'])(
    'an endpoint at %s, where its host has moved to, is not called',
    async (origin) => {
      const receiver = await startReceiver();
      const app = await startApp(production);
      const endpoint = await app.endpoint({ url: PUBLIC });
      await endpoint.set(`url = '${origin}:${receiver.port}/'`);
      expect((await endpoint.request('POST', '/test')).body).toEqual({
        delivered: false,
        duration_ms: expect.any(Number),
        error: "The endpoint's address is private or otherwise special and must not be called.",
      });
      expect(receiver.received).toEqual([]);
    },
  );
});

test('an unknown type is refused where it stands, and an empty list stands for every type', async () => {
  const app = await startApp(service);
  for (const types of [
    ['station.paired', 'station.moved'],
    ['station.paired', 'webhook.test'],
  ]) {
    const refused = await app.request('POST', '', { url: PUBLIC, types });
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([400, '/types/1']);
  }
  const endpoint = await app.endpoint({ url: PUBLIC, types: [] });
  expect((await endpoint.request('GET')).body.types).toBeUndefined();
  expect((await endpoint.row()).types).toBeNull();
});

test('a change keeps what is not sent, and empties what is sent empty', async () => {
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: PUBLIC, types: ['station.paired'], description: 'ours' });
  const before = (await endpoint.request('GET')).body;
  expect((await endpoint.request('PATCH', '', {})).body).toEqual(before);
  const url = 'https://8.8.4.4/';
  expect((await endpoint.request('PATCH', '', { url })).body).toEqual({ ...before, url });
  const { types: _types, description: _description, ...rest } = before;
  expect((await endpoint.request('PATCH', '', { types: [], description: '' })).body).toEqual({ ...rest, url });
});

test('a deleted endpoint is gone, with its secrets', async () => {
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: PUBLIC });
  expect((await endpoint.request('DELETE')).status).toBe(204);
  for (const method of ['GET', 'DELETE']) expect((await endpoint.request(method)).status).toBe(404);
  const { rows } = await service.sql.query('select from webhook_secrets where endpoint_id = $1', [endpoint.id]);
  expect(rows).toEqual([]);
});

test('creating, changing, rotating, disabling and deleting are audited with the token, without the query and the secret', async () => {
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: 'https://8.8.8.8/hooks/T0/secret?key=secret', types: ['station.paired'] });
  await endpoint.request('PATCH', '', { url: 'https://8.8.4.4:8443?key=secret' });
  const rotated = await endpoint.request('POST', '/rotate-secret', { overlap_hours: 2 });
  service.secrets.add(rotated.body.secret);
  await endpoint.request('PATCH', '', { status: 'disabled' });
  await endpoint.request('PATCH', '', { status: 'enabled' });
  await endpoint.request('DELETE');
  const entries = await audit(endpoint.id);
  expect(entries.map(({ action }) => action)).toEqual([
    'webhook.create',
    'webhook.change',
    'webhook.rotate-secret',
    'webhook.disable',
    'webhook.change',
    'webhook.delete',
  ]);
  expect(new Set(entries.map(({ actor }) => actor))).toEqual(new Set([`app token ${app.tokenId}`]));
  expect(entries[0].detail).toEqual({
    app: app.name,
    status: 'enabled',
    types: ['station.paired'],
    origin: 'https://8.8.8.8',
  });
  expect(entries[1].detail.origin).toBe('https://8.8.4.4:8443');
  expect(entries[2].detail).toEqual({ app: app.name, overlap_hours: 2 });
  expect(entries[3].detail).toEqual({ app: app.name, reason: 'app' });
  expect(JSON.stringify(entries)).not.toMatch(/secret=|key=|whsec|T0/);
});
