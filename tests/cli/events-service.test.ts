import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { projectFile } from '../../src/contract/document';
import { issueToken } from '../../src/tokens/tokens';
import { command } from '../harness/a-command';
import { recorder, startListening, startReceiver } from '../harness/a-listener';
import { endLater } from '../harness/clean-up';
import { aStation, type Harness, SECRET_KEY, startHarness } from '../harness/harness';

// The commands against the running service.

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const settings = () => ({ DATABASE_URL: service.databaseUrl, SECRET_KEY });
const target = (token = service.appToken) => ({ SCSP_URL: service.url, SCSP_TOKEN: token });

async function list(...args: string[]): Promise<any[]> {
  const { code, stdout, stderr } = await command(settings(), ['events', 'list', ...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

/** Pairs a station and waits until its event is in the feed. Returns the position of the event. */
async function pair(): Promise<{ uid: string; position: string }> {
  const cpo = await service.cpo();
  const { uid } = aStation();
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  let after = '0';
  for (;;) {
    const { body } = await service.request('GET', `/v1/events?after=${after}&wait=5`, { token: service.appToken });
    const found = body.items.find((event: any) => event.data.uid === uid);
    if (found !== undefined) return { uid, position: found.position };
    after = body.next_after;
  }
}

describe('scsp events list', () => {
  test('shows the latest events, or the first ones after a position, each as the feed has it', async () => {
    const [first, second] = [await pair(), await pair()];
    const { body } = await service.request('GET', '/v1/events', { token: service.appToken });
    expect(await list()).toEqual(body.items);
    expect((await list('--limit', '1')).map(({ position }) => position)).toEqual([second.position]);
    const following = await list('--after', first.position, '--limit', '1');
    expect(following).toMatchObject([{ type: 'station.paired', position: second.position, data: { uid: second.uid } }]);
    expect(await list('--after', second.position)).toEqual([]);

    const { stdout } = await command(settings(), ['events', 'list', '--limit', '1']);
    expect(stdout).toMatch(/^POSITION +TIMESTAMP +TYPE +ID +DATA\n/);
    expect(stdout).toContain(second.uid);
  });

  test('shows the events about the webhook endpoints of every app', async () => {
    await pair();
    const endpoint = randomUUID();
    await service.sql.query(
      `insert into events (id, type, endpoint_id, app_name, reason) values ($1, 'webhook_endpoint.disabled', $2, 'another app', 'gone')`,
      [randomUUID(), endpoint],
    );
    await pair();
    const found = (await list()).filter(({ type }) => type === 'webhook_endpoint.disabled');
    expect(found).toMatchObject([{ data: { endpoint_id: endpoint } }]);
  });

  test('refuses a position whose events are not kept, and says which are', async () => {
    const { position } = await pair();
    const after = String(Number(position) + 1_000);
    expect(await command(settings(), ['events', 'list', '--after', after])).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(
        new RegExp(`^scsp: the events after position ${after} are not kept: --after must be from 0 to \\d+\n$`),
      ),
    });
    expect(await command(settings(), ['events', 'list', '--after', 'latest'])).toMatchObject({ code: 2 });
  });
});

describe('scsp events listen', () => {
  test('forwards a pairing and its end to the receiver', async () => {
    const receiver = await startReceiver();
    const listener = startListening(target(), [
      '--forward-to',
      receiver.url,
      '--types',
      'station.paired,station.unpaired',
    ]);
    await listener.lines.count(2);
    const { uid } = await pair();
    expect((await service.unpairAsApp(uid)).status).toBe(200);
    const events = (await receiver.received.count(2)).map(({ body }) => JSON.parse(body));
    expect(events).toMatchObject([
      { type: 'station.paired', data: { uid } },
      { type: 'station.unpaired', data: { uid, reason: 'app' } },
    ]);
    expect(await listener.end()).toBe(0);
  });

  test('a type that does not exist ends it with 1, and the types that do are named', async () => {
    const listener = startListening(target(), ['--forward-to', 'http://127.0.0.1:1', '--types', 'nonsense']);
    expect(await listener.ended).toBe(1);
    expect(listener.warnings.values.join()).toContain('station.paired');
  });

  test("a token that is none, and a CPO's, end it with 1", async () => {
    const cpo = await service.cpo();
    for (const [token, words] of [
      ['scsp_app_none', 'rejected the token (401)'],
      [cpo.token, 'does not let this token read events (403)'],
    ] as const) {
      const listener = startListening(target(token), ['--forward-to', 'http://127.0.0.1:1']);
      expect(await listener.ended).toBe(1);
      expect(listener.warnings.values.join()).toContain(words);
      expect(listener.warnings.values.join()).not.toContain(token);
    }
  });

  describe('as a process', () => {
    let child: ChildProcess;
    const lines = recorder<string>();
    afterEach(() => child.kill('SIGKILL'));

    test.each(['SIGINT', 'SIGTERM'] as const)(
      '%s ends it with 0 at once, in a long poll; a second one changes nothing',
      async (signal) => {
        const { token } = await issueToken(service.operator, { role: 'app', appName: 'listener' });
        service.secrets.add(token);
        const cli = projectFile('dist/src/cli.js');
        child = spawn(process.execPath, [cli, 'events', 'listen', '--forward-to', 'http://127.0.0.1:1'], {
          env: { PATH: process.env.PATH ?? '', ...target(token) },
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        endLater(() => child.kill('SIGKILL'));
        const had = lines.values.length;
        if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => lines.add(line));
        await lines.count(had + 2);
        const ended = once(child, 'close');
        const began = performance.now();
        child.kill(signal);
        child.kill(signal);
        expect(await ended).toEqual([0, null]);
        expect(performance.now() - began).toBeLessThan(5_000);
      },
    );
  });
});
