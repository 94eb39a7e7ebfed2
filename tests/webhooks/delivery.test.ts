import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { answerStatus, type ReceivedEvent, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { endLater } from '../harness/clean-up';
import { aStation, type Harness, NO_LIMITS, startHarness } from '../harness/harness';
import { listenOn } from '../harness/listen';
import { untilAnswered, untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS });
});
afterAll(() => service.stop());

const headersOf = ({ headers }: ReceivedEvent) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
const verify = (secret: string, event: ReceivedEvent): any => new Webhook(secret).verify(event.body, headersOf(event));
const verifies = (secret: string, event: ReceivedEvent) => {
  try {
    return verify(secret, event) !== undefined;
  } catch {
    return false;
  }
};

test('a pairing is delivered at once, as the feed shows it, signed as the stock library verifies it', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver()];
  const endpoint = await app.endpoint({ url: `${receiver.url}?env=test`, types: ['station.paired'] });
  const cpo = await service.cpo();
  const { code, id: codeId } = await service.code();
  const station = aStation();
  expect((await service.pair(cpo, code, station)).status).toBe(200);
  await receiver.got(1);
  const [event] = receiver.received as [ReceivedEvent];
  const body = verify(endpoint.secret, event);
  expect(body).toMatchObject({ type: 'station.paired', data: { uid: station.uid, code_id: codeId, cpo_id: cpo.id } });
  expect((await service.request('GET', `/v1/events/${body.id}`, { token: app.token })).body).toEqual(body);
  expect(event.path).toBe('/hook?env=test');
  expect(event.headers).toMatchObject({
    'webhook-id': body.id,
    'content-type': 'application/json',
    'user-agent': expect.stringMatching(/^scsp-pairing\/\d+\.\d+\.\d+$/),
    'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/),
  });
  expect(event.headers).not.toHaveProperty('transfer-encoding');
  await endpoint.settled();
  expect(await endpoint.list()).toEqual([
    {
      event_id: body.id,
      type: 'station.paired',
      position: body.position,
      status: 'delivered',
      attempts: 1,
      last_status: 204,
      last_duration_ms: expect.any(Number),
    },
  ]);
  expect((await endpoint.request('GET')).body.last_success_at).toEqual(expect.any(String));
});

test('an endpoint gets the types that it asked for, and a changed endpoint those that it asks for now', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver()];
  const endpoint = await app.endpoint({ url: receiver.url, types: ['cpo.notified'] });
  await app.events(1, 'pairing_code.expired');
  const [wanted] = await app.events(1, 'cpo.notified');
  await receiver.got(1);
  expect(receiver.ids()).toEqual([wanted]);
  await endpoint.request('PATCH', '', { types: ['pairing_code.expired'] });
  await app.events(1, 'cpo.notified');
  const [expired] = await app.events(1, 'pairing_code.expired');
  await receiver.got(2);
  expect(receiver.ids()).toEqual([wanted, expired]);
});

test('an event of one app is not delivered to another', async () => {
  const [app, other] = [await startApp(service), await startApp(service)];
  const [receiver, others] = [await startReceiver(), await startReceiver()];
  await app.endpoint({ url: receiver.url, types: ['webhook_endpoint.failing'] });
  await other.endpoint({ url: others.url, types: ['webhook_endpoint.failing'] });
  const [first] = await app.events(1, 'webhook_endpoint.failing');
  const [second] = await other.events(1, 'webhook_endpoint.failing');
  await Promise.all([receiver.got(1), others.got(1)]);
  expect([receiver.ids(), others.ids()]).toEqual([[first], [second]]);
});

describe('a rotated secret', () => {
  test('signs beside the older one until the overlap ends, the newest first', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url });
    const before = Date.now();
    const rotated = await endpoint.request('POST', '/rotate-secret', {});
    service.secrets.add(rotated.body.secret);
    expect(rotated.status).toBe(200);
    const hours = (Date.parse(rotated.body.older_secrets_expire_at) - before) / 3_600_000;
    expect(hours).toBeGreaterThan(23.9);
    expect(hours).toBeLessThan(24.1);
    await endpoint.request('POST', '/test');
    const [event] = receiver.received as [ReceivedEvent];
    expect(verifies(endpoint.secret, event) && verifies(rotated.body.secret, event)).toBe(true);
    const [newest] = String(event.headers['webhook-signature']).split(' ');
    expect(
      new Webhook(rotated.body.secret).sign(
        String(event.headers['webhook-id']),
        new Date(Number(event.headers['webhook-timestamp']) * 1_000),
        event.body,
      ),
    ).toBe(newest);
    await service.sql.query(
      `update webhook_secrets set expires_at = now() where endpoint_id = $1 and expires_at is not null`,
      [endpoint.id],
    );
    await endpoint.request('POST', '/test');
    const after = receiver.received[1] as ReceivedEvent;
    expect([verifies(endpoint.secret, after), verifies(rotated.body.secret, after)]).toEqual([false, true]);
  });

  test('ends every older one at once without an overlap, and never lets more than three sign', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url });
    const secrets = [endpoint.secret];
    const rotate = async (overlap_hours: number) => {
      const { secret } = (await endpoint.request('POST', '/rotate-secret', { overlap_hours })).body;
      service.secrets.add(secret);
      secrets.push(secret);
      await endpoint.request('POST', '/test');
      const event = receiver.received.at(-1) as ReceivedEvent;
      return secrets.map((one) => verifies(one, event));
    };
    expect(await rotate(168)).toEqual([true, true]);
    expect(await rotate(168)).toEqual([true, true, true]);
    expect(await rotate(168)).toEqual([false, true, true, true]);
    const hours = async () =>
      (
        await service.sql.query(
          `select round(extract(epoch from expires_at - now()) / 3600)::int as hours from webhook_secrets
         where endpoint_id = $1 and expires_at > now() order by created_at`,
          [endpoint.id],
        )
      ).rows.map((row) => row.hours);
    expect(await hours()).toEqual([168, 168]);
    expect(await rotate(1)).toEqual([false, false, true, true, true]);
    expect(await hours()).toEqual([1, 1]);
    expect(await rotate(100)).toEqual([false, false, false, true, true, true]);
    expect(await hours()).toEqual([1, 100]);
    expect(await rotate(0)).toEqual([false, false, false, false, false, false, true]);
  });

  test('by many at the same time leaves at most three', async () => {
    const app = await startApp(service);
    const endpoint = await app.endpoint({ url: 'https://8.8.8.8/' });
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => endpoint.request('POST', '/rotate-secret', { overlap_hours: 24 })),
    );
    for (const { body } of answers) service.secrets.add(body.secret);
    const { rows } = await service.sql.query(
      `select count(*)::int as valid, count(*) filter (where expires_at is null)::int as newest from webhook_secrets
       where endpoint_id = $1 and (expires_at is null or expires_at > now())`,
      [endpoint.id],
    );
    expect(rows).toEqual([{ valid: 3, newest: 1 }]);
  });
});

describe('a failed attempt', () => {
  const failing = async (answer: Parameters<typeof startReceiver>[0]) => {
    const [app, receiver] = [await startApp(service), await startReceiver(answer)];
    const endpoint = await app.endpoint({ url: receiver.url });
    const [id] = await app.events(1);
    await endpoint.attempted(1);
    return { app, receiver, endpoint, id, delivery: (await endpoint.list())[0], row: (await endpoint.deliveries())[0] };
  };

  test('is repeated after 5 s, with the same id', async () => {
    const before = Date.now();
    const { receiver, endpoint, id, delivery } = await failing(answerStatus(500));
    expect(delivery).toMatchObject({
      status: 'pending',
      attempts: 1,
      last_status: 500,
      last_error: 'The endpoint answered 500.',
    });
    const pause = (Date.parse(delivery.next_attempt_at) - before) / 1_000;
    expect(pause).toBeGreaterThanOrEqual(4);
    expect(pause).toBeLessThan(9);
    expect((await endpoint.request('GET')).body.failing_since).toEqual(expect.any(String));
    receiver.answer = answerStatus(200);
    await receiver.got(2);
    await endpoint.settled();
    expect(receiver.ids()).toEqual([id, id]);
    expect((receiver.received[1]?.at ?? 0) - (receiver.received[0]?.at ?? 0)).toBeGreaterThanOrEqual(3_990);
    const { failing_since: none } = (await endpoint.request('GET')).body;
    expect([none, (await endpoint.row()).failures]).toEqual([undefined, 0]);
  });

  test.each([301, 302, 303, 307, 308])('is a redirect with %i, which is not followed', async (status) => {
    const target = await startReceiver();
    const { receiver, delivery } = await failing(answerStatus(status, { Location: target.url }));
    expect(delivery).toMatchObject({
      status: 'pending',
      last_status: status,
      last_error: `The endpoint answered ${status}.`,
    });
    expect([receiver.received.length, target.received.length]).toEqual([1, 0]);
  });

  test.each([
    ['100 seconds', '100', 100],
    ['a date', () => new Date(Date.now() + 100_000).toUTCString(), 100],
    ['a week, of which a day counts', '604800', 86_400],
    ['1 second, which is shorter than the pause', '1', 5],
    ['what it must not be', 'tomorrow', 5],
  ])('waits for a Retry-After of %s', async (_what, header, seconds) => {
    const before = Date.now();
    const value = typeof header === 'function' ? header() : header;
    const { delivery } = await failing(answerStatus(503, { 'Retry-After': value }));
    const pause = (Date.parse(delivery.next_attempt_at) - before) / 1_000;
    expect(pause).toBeGreaterThanOrEqual(seconds * 0.8 - 2);
    expect(pause).toBeLessThanOrEqual(seconds * 1.2 + 5);
  });

  test('says that the endpoint could not be reached', async () => {
    const app = await startApp(service);
    const receiver = await startReceiver();
    await receiver.down();
    const endpoint = await app.endpoint({ url: receiver.url });
    await app.events(1);
    await endpoint.attempted(1);
    const [delivery] = await endpoint.list();
    expect(delivery).toMatchObject({ attempts: 1, last_error: 'The endpoint could not be reached.' });
    expect(delivery).not.toHaveProperty('last_status');
  });

  test.each([
    ['closes the connection', ''],
    ['speaks something else', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['switches protocols', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'],
  ])('is one of an endpoint that %s', async (_what, text) => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(text));
    });
    const port = await listenOn(server);
    endLater(() => server.close());
    const app = await startApp(service);
    const endpoint = await app.endpoint({ url: `http://127.0.0.1:${port}/` });
    expect((await endpoint.request('POST', '/test')).body).toEqual({
      delivered: false,
      duration_ms: expect.any(Number),
      error: 'The endpoint could not be reached.',
    });
  });

  test('keeps nothing of the answer but status and time', async () => {
    const body = `a body ${randomUUID()}`;
    const { endpoint } = await failing(
      (res) => void res.writeHead(500, { 'X-Private': body }).end(body.repeat(10_000)),
    );
    const stored = JSON.stringify([await endpoint.deliveries(), await endpoint.row(), service.log.lines]);
    expect(stored).not.toContain(body);
  });

  test('comes after ten pauses for the last time: then the event has failed, and can be redelivered', async () => {
    const { receiver, endpoint, id } = await failing(answerStatus(500));
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 10; attempt++) {
      const [row] = await endpoint.deliveries();
      pauses.push((row.next_attempt_at.getTime() - Date.now()) / 1_000);
      await endpoint.due();
      await endpoint.attempted(attempt + 1);
    }
    const minute = 60;
    const hour = 3_600;
    [5, 30, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour].forEach(
      (pause, n) => {
        expect(pauses[n]).toBeGreaterThan(pause * 0.8 - 5);
        expect(pauses[n]).toBeLessThan(pause * 1.2 + 1);
      },
    );
    expect(await endpoint.list()).toMatchObject([{ event_id: id, status: 'failed', attempts: 11 }]);
    expect(receiver.received).toHaveLength(11);
    const given = await service.log.waitFor(
      (line) => line.message === 'gave up delivering a webhook event' && line.event_id === id,
    );
    expect(given).toMatchObject({ level: 'warn', endpoint_id: endpoint.id, status: 500 });
    receiver.answer = answerStatus(200);
    expect((await endpoint.request('POST', '/redeliver', { event_id: id })).status).toBe(202);
    await endpoint.settled();
    expect(await endpoint.list()).toMatchObject([{ event_id: id, status: 'delivered', attempts: 1 }]);
  });

  test('is logged when it is the first one, not each time', async () => {
    const { app, endpoint } = await failing(answerStatus(500));
    await app.events(3);
    await endpoint.attempted(1);
    const logged = () =>
      service.log.lines.filter(
        (line) => line.message === 'webhook event not delivered yet' && line.endpoint_id === endpoint.id,
      );
    await untilSo(() => logged().length >= 4);
    expect(logged().map(({ level }) => level)).toEqual(['warn', 'debug', 'debug', 'debug']);
  });
});

test('a slow or endless body of a success does not delay it, nor keep the connection', async () => {
  const receiver = await startReceiver((res) => void res.writeHead(200).write('x'));
  const endpoint = await (await startApp(service)).endpoint({ url: receiver.url });
  const began = performance.now();
  expect((await endpoint.request('POST', '/test')).body).toMatchObject({ delivered: true, status: 200 });
  expect(performance.now() - began).toBeLessThan(5_000);
});

test('a connection is used again, and a call on one that the endpoint has just closed is repeated', async () => {
  const ports: (number | undefined)[] = [];
  const receiver = await startReceiver((res) => {
    ports.push(res.socket?.remotePort);
    // As if the endpoint had closed the idle connection while the request was on its way.
    if (ports.length === 3) res.socket?.destroy();
    else res.writeHead(200).end('ok');
  });
  const endpoint = await (await startApp(service)).endpoint({ url: receiver.url });
  for (let i = 0; i < 3; i++) expect((await endpoint.request('POST', '/test')).body).toMatchObject({ delivered: true });
  const [first, second, third, fourth] = ports;
  expect([second, third]).toEqual([first, first]);
  expect(fourth).not.toBe(first);
  expect(receiver.ids()[3]).toBe(receiver.ids()[2]);
});

test('after an erasure has been answered nothing of the user is delivered', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(500))];
  const endpoint = await app.endpoint({ url: receiver.url, types: ['station.paired'] });
  const cpo = await service.cpo();
  const user_id = randomUUID();
  const station = aStation();
  await service.pair(cpo, (await service.code({ user_id, charging_location_id: 'their home' })).code, station);
  await receiver.got(1);
  expect(receiver.received[0]?.body).toContain(user_id);
  await endpoint.attempted(1);
  expect((await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken })).status).toBe(204);
  receiver.answer = answerStatus(200);
  await endpoint.due();
  await receiver.got(2);
  const second = JSON.parse(receiver.received[1]?.body ?? '');
  expect(second.data).toEqual({ pairing_id: expect.any(String), code_id: expect.any(String), erased: true });
  for (const text of [user_id, station.uid, 'their home']) expect(receiver.received[1]?.body).not.toContain(text);
});

/** Makes the look-up of `slow.localhost` wait until `go`; `looking` resolves when it has begun. */
function slowLookups() {
  const dns = jest.requireActual<typeof import('node:dns')>('node:dns');
  const original = dns.lookup;
  let asked: () => void = () => {};
  const looking = new Promise<void>((resolve) => {
    asked = resolve;
  });
  let go: () => void = () => {};
  const gone = new Promise<void>((resolve) => {
    go = resolve;
  });
  const slow = jest.spyOn(dns, 'lookup').mockImplementation(((...[name, ...rest]: Parameters<typeof dns.lookup>) => {
    // Requests of the test itself look up localhost.
    if (name !== 'slow.localhost') return Reflect.apply(original, dns, [name, ...rest]);
    asked();
    void gone.then(() => Reflect.apply(original, dns, ['localhost', ...rest]));
  }) as typeof dns.lookup);
  return { looking, go: () => go(), slow };
}

test('the body is composed when the connection is ready, so that an erasure meanwhile is respected', async () => {
  const app = await startApp(service);
  const bodies: string[] = [];
  // A proxy that holds connections open would need privileges; the name resolves slowly instead.
  const receiver = await startReceiver((res, { body }) => {
    bodies.push(body);
    res.writeHead(200).end();
  });
  const endpoint = await app.endpoint({
    url: receiver.url.replace('127.0.0.1', 'slow.localhost'),
    types: ['station.paired'],
  });
  const { looking, go, slow } = slowLookups();
  try {
    const user_id = randomUUID();
    const cpo = await service.cpo();
    await service.pair(cpo, (await service.code({ user_id })).code, aStation());
    await looking;
    expect((await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken })).status).toBe(204);
    // The contract's own time after which nothing may be sent.
    await sleep(300);
    go();
    await receiver.got(1);
    expect(JSON.parse(bodies[0] ?? '').data.erased).toBe(true);
    expect(bodies[0]).not.toContain(user_id);
    await endpoint.settled();
  } finally {
    slow.mockRestore();
  }
});

test('a secret that was replaced while the connection was being made signs nothing', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver()];
  const url = receiver.url.replace('127.0.0.1', 'slow.localhost');
  const endpoint = await app.endpoint({ url, types: ['station.paired'] });
  const { looking, go, slow } = slowLookups();
  try {
    await service.pair(await service.cpo(), (await service.code()).code, aStation());
    await looking;
    const { status, body } = await endpoint.request('POST', '/rotate-secret', { overlap_hours: 0 });
    expect(status).toBe(200);
    // What was read before is old by then.
    await sleep(300);
    go();
    await receiver.got(1);
    expect(verify(body.secret, receiver.received[0] as ReceivedEvent)).toMatchObject({ type: 'station.paired' });
    expect(() => verify(endpoint.secret, receiver.received[0] as ReceivedEvent)).toThrow();
    await endpoint.settled();
  } finally {
    slow.mockRestore();
  }
});

test('an event goes to the URL that an endpoint has when the connection is ready', async () => {
  const [app, before, after] = [await startApp(service), await startReceiver(), await startReceiver()];
  const url = before.url.replace('127.0.0.1', 'slow.localhost');
  const endpoint = await app.endpoint({ url, types: ['station.paired'] });
  const { looking, go, slow } = slowLookups();
  try {
    await service.pair(await service.cpo(), (await service.code()).code, aStation());
    await looking;
    expect((await endpoint.request('PATCH', '', { url: after.url })).status).toBe(200);
    await sleep(300);
    go();
    await after.got(1);
    expect(before.received).toEqual([]);
    await endpoint.settled();
  } finally {
    slow.mockRestore();
  }
});

describe('a test', () => {
  test('is sent once, signed, also to a disabled endpoint, and changes no counter', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url });
    await endpoint.request('PATCH', '', { status: 'disabled' });
    const before = await endpoint.row();
    const { status, body } = await endpoint.request('POST', '/test');
    expect([status, body]).toEqual([200, { delivered: true, status: 204, duration_ms: expect.any(Number) }]);
    expect(verify(endpoint.secret, receiver.received[0] as ReceivedEvent)).toEqual({
      id: receiver.ids()[0],
      type: 'webhook.test',
      timestamp: expect.any(String),
      data: { endpoint_id: endpoint.id },
    });
    receiver.answer = answerStatus(401);
    expect((await endpoint.request('POST', '/test')).body).toEqual({
      delivered: false,
      status: 401,
      duration_ms: expect.any(Number),
      error: 'The endpoint answered 401.',
    });
    receiver.answer = answerStatus(410);
    await endpoint.request('POST', '/test');
    expect(await endpoint.row()).toEqual(before);
    expect(await endpoint.deliveries()).toEqual([]);
  });

  test('is refused after ten within a minute, however many ask at the same time', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url });
    const answers = await Promise.all(
      Array.from({ length: 15 }, () => untilAnswered(() => endpoint.request('POST', '/test'))),
    );
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(5);
    expect(receiver.received).toHaveLength(10);
    expect(refused[0]?.body.type).toBe('/problems/too-many-requests');
    const wait = Number(refused[0]?.headers.get('Retry-After'));
    expect(wait).toBeGreaterThan(40);
    expect(wait).toBeLessThanOrEqual(60);
    await endpoint.request('DELETE');
    const another = await app.endpoint({ url: receiver.url });
    expect((await another.request('POST', '/test')).status).toBe(429);
    const limits = (sql: string) => service.sql.query(`${sql} where app_name = $1`, [app.name]);
    await limits(
      `update webhook_limits set tested_at = array(select t - interval '1 minute' from unnest(tested_at) t)`,
    );
    expect((await another.request('POST', '/test')).status).toBe(200);
    expect((await limits('select tested_at from webhook_limits')).rows[0].tested_at).toHaveLength(1);
  });
});
