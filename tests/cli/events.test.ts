import { randomUUID } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { random } from '../../src/crypto/random';
import { newWebhookSecret } from '../../src/webhooks/signature';
import { command } from '../harness/a-command';
import { type Event, recorder, type Settings, startListening, startReceiver } from '../harness/a-listener';
import { endLater } from '../harness/clean-up';
import { close, listenOn } from '../harness/listen';
import { untilSo } from '../harness/until';

// The command against a feed that behaves as a test says; events-service.test.ts runs it against the service.

const TOKEN = 'scsp_app_of-a-test';

const anEvent = (position: number, type = 'station.paired'): Event => ({
  id: randomUUID(),
  type,
  timestamp: new Date(0).toISOString(),
  position: String(position),
  data: { pairing_id: randomUUID() },
});

/** A feed of events. `hold` keeps a request that finds no event until one is added. */
async function startFeed() {
  const events: Event[] = [];
  const requests = recorder<{ query: URLSearchParams; headers: IncomingHttpHeaders }>();
  const added = new Set<() => void>();
  const server = createServer((req, res) => {
    const query = new URL(req.url ?? '', 'http://feed').searchParams;
    requests.add({ query, headers: req.headers });
    feed.answer(res, query);
  });
  const send = (res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) =>
    res.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body));
  const page = (res: ServerResponse, query: URLSearchParams) => {
    const after = query.get('after');
    const last = events.at(-1)?.position ?? '0';
    const look = () => {
      const items = events.filter(({ position }) => after !== 'latest' && Number(position) > Number(after));
      if (items.length === 0 && query.get('wait') !== '0' && !res.destroyed) return;
      added.delete(look);
      send(res, 200, { items, next_after: items.at(-1)?.position ?? last });
    };
    added.add(look);
    look();
  };
  const port = await listenOn(server);
  endLater(() => close(server));
  const feed = {
    url: `http://127.0.0.1:${port}`,
    events,
    requests,
    send,
    page,
    answer: page,
    add(...more: Event[]) {
      events.push(...more);
      for (const look of added) look();
    },
    down: () => close(server),
    up: () => listenOn(server, port),
  };
  return feed;
}

async function startAll(args: readonly string[] = [], input: string[] = []) {
  const [feed, receiver] = [await startFeed(), await startReceiver()];
  const follow = (...more: string[]) =>
    startListening({ SCSP_URL: feed.url, SCSP_TOKEN: TOKEN }, ['--forward-to', receiver.url, ...more], input);
  return { feed, receiver, follow, listener: follow(...args) };
}

test('each event is delivered, signed so that the stock library accepts it, and one line says what came of it', async () => {
  const { feed, receiver, listener } = await startAll();
  const [secretLine = '', following] = await listener.lines.count(2);
  expect(following).toBe(`following ${feed.url} after position 0, delivering to ${receiver.url}`);
  const secret = /^secret {2}(whsec_\S{44})$/.exec(secretLine)?.[1] ?? '';

  const event = anEvent(1);
  feed.add(event);
  const [delivered] = await receiver.received.count(1);
  expect(new Webhook(secret).verify(delivered?.body ?? '', delivered?.headers as Record<string, string>)).toEqual(
    event,
  );
  expect(delivered?.headers).toMatchObject({ 'webhook-id': event.id, 'content-type': 'application/json' });
  expect((await listener.lines.count(3))[2]).toMatch(
    new RegExp(`^\\d{4}-\\S+Z {2}station\\.paired +${event.id} {2}204 {2}\\d+ ms$`),
  );
  expect(await listener.end()).toBe(0);
  expect(listener.warnings.values).toEqual([]);
  expect([...listener.lines.values, ...listener.warnings.values].join()).not.toContain(TOKEN);
});

test('under --json each line is an object, and the secret is the one on standard input', async () => {
  const secret = newWebhookSecret(random);
  const { feed, receiver, listener } = await startAll(['--json'], [`${secret}\n`]);
  await listener.end();
  const given = startListening(
    { SCSP_URL: feed.url, SCSP_TOKEN: TOKEN },
    ['--forward-to', receiver.url, '--json', '--secret-stdin'],
    [`${secret}\n`],
  );
  await given.lines.count(2);
  const event = anEvent(1);
  feed.add(event);
  const [first, second, third] = (await given.lines.count(3)).map((line) => JSON.parse(line));
  expect(first).toEqual({ secret });
  expect(second).toEqual({ following: feed.url, after: '0', forward_to: receiver.url });
  expect(third).toEqual({
    time: expect.stringMatching(/Z$/),
    type: event.type,
    event_id: event.id,
    position: '1',
    status: 204,
    duration_ms: expect.any(Number),
  });
  expect(await given.end()).toBe(0);
});

test('it begins with new events, or after the position that is given, and long polls for the next', async () => {
  const { feed, receiver, follow, listener } = await startAll();
  await listener.lines.count(2);
  await listener.end();
  feed.add(anEvent(1), anEvent(2));
  const fromNow = follow();
  await fromNow.lines.count(2);
  feed.add(anEvent(3));
  await receiver.received.count(1);
  await fromNow.end();
  const fromOne = follow('--after', '1');
  await receiver.received.count(3);
  await fromOne.end();
  expect(receiver.positions()).toEqual([3, 2, 3]);
  const queries = feed.requests.values.map(({ query }) => query.toString());
  expect(queries.filter((query, index) => query !== queries[index - 1])).toEqual(
    expect.arrayContaining(['after=latest&wait=0', 'after=2&wait=25', 'after=1&wait=0']),
  );
  expect(feed.requests.values[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
});

test('only the types that are asked for are requested', async () => {
  const { feed, listener } = await startAll(['--types', 'station.paired,pairing.erased']);
  await listener.lines.count(2);
  expect(feed.requests.values[0]?.query.get('types')).toBe('station.paired,pairing.erased');
  feed.answer = (res) => feed.send(res, 400, { errors: [{ pointer: '/types/0', message: 'must be one of …' }] });
  feed.add(anEvent(1));
  expect(await listener.ended).toBe(1);
  expect(listener.warnings.values).toEqual([`scsp: ${feed.url} rejected the request: types/0 must be one of …`]);
});

test('any HTTP status is printed and the next event follows; a redirect is not followed', async () => {
  const { feed, receiver, listener } = await startAll(['--json']);
  await listener.lines.count(2);
  const statuses = [500, 302, 410, 200];
  receiver.answer = (res, { position }) =>
    res.writeHead(statuses[Number(position) - 1] ?? 204, { location: receiver.url }).end('x'.repeat(100_000));
  feed.add(anEvent(1), anEvent(2), anEvent(3), anEvent(4));
  const printed = (await listener.lines.count(6)).slice(2).map((line) => JSON.parse(line).status);
  expect(printed).toEqual(statuses);
  expect(receiver.positions()).toEqual([1, 2, 3, 4]);
});

test('a connection that the receiver closes without a response is an error, and the next event follows', async () => {
  const { feed, receiver, listener } = await startAll(['--json']);
  await listener.lines.count(2);
  receiver.answer = (res, { position }) => (position === '1' ? res.destroy() : res.writeHead(204).end());
  feed.add(anEvent(1), anEvent(2));
  const [first, second] = (await listener.lines.count(4)).slice(2).map((line) => JSON.parse(line));
  expect(first).toMatchObject({ position: '1', error: expect.any(String) });
  expect(first).not.toHaveProperty('status');
  expect(second).toMatchObject({ position: '2', status: 204 });
});

test('events are delivered one at a time, in their order', async () => {
  const { feed, receiver, listener } = await startAll();
  await listener.lines.count(2);
  let open = 0;
  let most = 0;
  receiver.answer = (res) => {
    open += 1;
    most = Math.max(most, open);
    setImmediate(() => {
      open -= 1;
      res.writeHead(204).end();
    });
  };
  feed.add(...Array.from({ length: 20 }, (_, index) => anEvent(index + 1)));
  await receiver.received.count(20);
  expect([most, receiver.positions()]).toEqual([1, Array.from({ length: 20 }, (_, index) => index + 1)]);
});

test('while the receiver is away the same event is tried again, as it is by then, and that is said once', async () => {
  const { feed, receiver, listener } = await startAll();
  await listener.lines.count(2);
  await receiver.down();
  feed.add(anEvent(1), anEvent(2));
  await listener.warnings.count(1);
  await feed.requests.count(feed.requests.values.length + 2);
  for (const event of feed.events) event.data = { erased: true };
  await feed.requests.count(feed.requests.values.length + 1);
  await receiver.up();
  await receiver.received.count(2);
  expect(receiver.positions()).toEqual([1, 2]);
  for (const { body } of receiver.received.values) expect(JSON.parse(body).data).toEqual({ erased: true });
  expect(listener.warnings.values).toEqual([
    expect.stringMatching(/^scsp: http:\S+ cannot be connected \(.*ECONNREFUSED.*\), trying again$/),
  ]);
});

test('a receiver that goes away between two events gets the second one when it is back, and the first one once', async () => {
  const { feed, receiver, listener } = await startAll();
  await listener.lines.count(2);
  receiver.answer = (res) => res.writeHead(204).end(() => void receiver.down());
  feed.add(anEvent(1), anEvent(2));
  await listener.warnings.count(1);
  receiver.answer = (res) => res.writeHead(204).end();
  await receiver.up();
  await receiver.received.count(2);
  feed.add(anEvent(3));
  await receiver.received.count(3);
  expect(receiver.positions()).toEqual([1, 2, 3]);
});

test('while the service restarts it reconnects, says so once, and continues: nothing is lost or delivered twice', async () => {
  const { feed, receiver, listener } = await startAll();
  await listener.lines.count(2);
  feed.add(anEvent(1));
  await receiver.received.count(1);
  await feed.requests.count(3);
  await feed.down();
  await listener.warnings.count(1);
  feed.events.push(anEvent(2));
  let unavailable = 2;
  feed.answer = (res, query) => {
    unavailable -= 1;
    if (unavailable === 1) feed.send(res, 503, {}, { 'Retry-After': '1' });
    else if (unavailable === 0) feed.send(res, 429, {}, { 'Retry-After': '0' });
    else feed.page(res, query);
  };
  await feed.up();
  await receiver.received.count(2);
  feed.add(anEvent(3));
  await receiver.received.count(3);
  expect(receiver.positions()).toEqual([1, 2, 3]);
  expect(listener.warnings.values).toEqual([
    expect.stringMatching(/^scsp: http:\S+ is not available \(.+\), reconnecting$/),
    `scsp: ${feed.url} is available again`,
  ]);
});

test('Retry-After is kept to', async () => {
  const { feed, listener, receiver } = await startAll();
  await listener.lines.count(2);
  const times: number[] = [];
  feed.answer = (res, query) => {
    times.push(performance.now());
    if (times.length === 1) feed.send(res, 429, {}, { 'Retry-After': '2' });
    else feed.page(res, query);
  };
  feed.add(anEvent(1));
  await receiver.received.count(1);
  const next = anEvent(2);
  feed.add(next);
  await receiver.received.count(2);
  expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(1_990);
});

test('a service that is away at the start is waited for', async () => {
  const { feed, receiver, listener, follow } = await startAll();
  await listener.end();
  await feed.down();
  const waiting = follow('--after', '0');
  await waiting.warnings.count(1);
  await feed.up();
  feed.add(anEvent(1));
  await receiver.received.count(1);
});

test('new events follow also when the receiver was away when the events after the position were gone', async () => {
  const { feed, receiver, follow, listener } = await startAll();
  await listener.end();
  await receiver.down();
  feed.add(anEvent(8));
  const following = follow('--after', '3');
  await following.warnings.count(1);
  feed.answer = (res, query) => (query.get('after') === '3' ? feed.send(res, 410, {}) : feed.page(res, query));
  await following.warnings.count(2);
  await untilSo(() => feed.requests.values.some(({ query }) => query.get('after') === '8'));
  await receiver.up();
  feed.add(anEvent(9));
  await receiver.received.count(1);
  expect(receiver.positions()).toEqual([9]);
});

test('a page that has become old is read again before its next event is sent', async () => {
  const { feed, receiver, follow, listener } = await startAll();
  await listener.end();
  receiver.answer = (res) => void setTimeout(() => res.end(), 250);
  feed.add(anEvent(1), anEvent(2), anEvent(3));
  const before = feed.requests.values.length;
  follow('--after', '0');
  await receiver.received.count(3);
  expect(receiver.positions()).toEqual([1, 2, 3]);
  const asked = feed.requests.values.slice(before).map(({ query }) => query.get('after'));
  expect(asked.slice(0, 3)).toEqual(['0', '1', '2']);
});

test('when the events after the position are gone, that is said, and new events follow', async () => {
  const { feed, receiver, listener, follow } = await startAll();
  await listener.end();
  feed.add(anEvent(8));
  feed.answer = (res, query) => (query.get('after') === '3' ? feed.send(res, 410, {}) : feed.page(res, query));
  const expired = follow('--after', '3');
  await expired.lines.count(2);
  expect(expired.warnings.values).toEqual([
    'scsp: the events after position 3 are not kept any more: continuing with new events',
  ]);
  expect(expired.lines.values[1]).toContain('after position 8');
  feed.add(anEvent(9));
  await receiver.received.count(1);
  expect(receiver.positions()).toEqual([9]);
});

test.each([
  [401, 'rejected the token (401)'],
  [403, 'does not let this token read events (403)'],
  [404, '/v1/events answered 404: check SCSP_URL'],
  [301, '/v1/events answered 301: check SCSP_URL'],
  [200, '/v1/events is not the feed of scsp-pairing: check SCSP_URL'],
])('a %i of the service ends it with 1, and says: %s', async (status, words) => {
  const { feed, listener, follow } = await startAll();
  await listener.end();
  feed.answer = (res) => feed.send(res, status, { hello: 'world' }, { location: '/elsewhere' });
  const refused = follow();
  expect(await refused.ended).toBe(1);
  expect(refused.warnings.values).toEqual([expect.stringContaining(words)]);
  expect(refused.warnings.values.join()).not.toContain(TOKEN);
});

describe('it ends at once with 0', () => {
  test('in a long poll', async () => {
    const { feed, listener } = await startAll();
    await feed.requests.count(2);
    expect(await listener.end()).toBe(0);
  });

  test('while the service is away', async () => {
    const { feed, listener } = await startAll();
    await feed.requests.count(2);
    feed.answer = (res) => feed.send(res, 503, {}, { 'Retry-After': '3600' });
    feed.add(anEvent(1));
    await listener.lines.count(2);
    await feed.down();
    await listener.warnings.count(1);
    expect(await listener.end()).toBe(0);
  });

  test('while the receiver is away, and while it does not respond', async () => {
    const { feed, receiver, listener, follow } = await startAll();
    await listener.lines.count(2);
    receiver.answer = () => {};
    feed.add(anEvent(1));
    await receiver.received.count(1);
    expect(await listener.end()).toBe(0);
    await receiver.down();
    const again = follow('--after', '0');
    await again.warnings.count(1);
    expect(await again.end()).toBe(0);
  });
});

test('a long run leaves no listener behind on the signal that ends it', async () => {
  const { feed, receiver, listener } = await startAll();
  await listener.lines.count(2);
  await feed.requests.count(2);
  const before = getEventListeners(listener.stop, 'abort').length;
  for (let position = 1; position <= 20; position++) {
    feed.add(anEvent(position));
    await feed.requests.count(position + 2);
  }
  expect(receiver.positions()).toHaveLength(20);
  expect(getEventListeners(listener.stop, 'abort')).toHaveLength(before);
});

describe('where it connects to', () => {
  const home = mkdtempSync(join(tmpdir(), 'scsp-listen-'));
  afterAll(() => rmSync(home, { recursive: true, force: true }));
  const refuse = (settings: Settings, ...args: string[]) =>
    command({ DATA_DIR: home, ...settings }, ['events', 'listen', '--forward-to', 'http://localhost:1/', ...args]);
  const refusal = (words: string) => ({ code: 1, stdout: '', stderr: expect.stringContaining(words) });

  test('by default the sandbox of DATA_DIR', async () => {
    expect(await refuse({})).toEqual(refusal(`${join(home, 'sandbox.json')} cannot be read`));
    const [feed, receiver] = [await startFeed(), await startReceiver()];
    writeFileSync(join(home, 'sandbox.json'), JSON.stringify({ url: feed.url, app: { token: TOKEN } }));
    const listener = startListening({ DATA_DIR: home }, ['--forward-to', receiver.url]);
    await listener.lines.count(2);
    expect(feed.requests.values[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
  });

  test("another service never gets the sandbox's token", async () =>
    expect(await refuse({ SCSP_URL: 'http://127.0.0.1:1' })).toEqual(refusal('SCSP_URL needs SCSP_TOKEN')));

  test('an address that is none is refused, and so is what is no token', async () => {
    for (const SCSP_URL of ['service.example', 'ftp://a', 'http://me:secret@a', 'http://a?b'])
      expect(await refuse({ SCSP_URL, SCSP_TOKEN: TOKEN })).toEqual(refusal('SCSP_URL must be a URL'));
    const ended = await refuse({ SCSP_URL: 'http://127.0.0.1:1', SCSP_TOKEN: 'two words' });
    expect(ended).toEqual(refusal('SCSP_TOKEN must be one bearer token'));
  });

  test('a receiver that is no address of HTTP, a position and a secret that are none, are refused', async () => {
    for (const url of ['localhost:8080', 'ftp://localhost', 'http://me:secret@localhost'])
      expect(await command({}, ['events', 'listen', '--forward-to', url])).toMatchObject({ code: 2, stdout: '' });
    expect(await refuse({}, '--after', 'latest')).toMatchObject({ code: 2 });
    const target = { SCSP_URL: 'http://127.0.0.1:1', SCSP_TOKEN: TOKEN };
    const args = ['events', 'listen', '--forward-to', 'http://localhost:1', '--secret-stdin'];
    expect(await command(target, args, ['v1,abc'])).toEqual(refusal('the secret begins with v1,'));
  });
});
