import { type ChildProcess, type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { cpoChecks } from '../../src/conformance/cpo/checks';
import { startEmbedded } from '../../src/embedded-postgres/launcher';
import station from '../fixtures/ocpp/station.json';
import { untilStatus } from '../harness/until';

// The built program in processes of its own; the other files of this folder run commands in the process of the tests.

const ROOT = join(__dirname, '../..');
const CLI = join(ROOT, 'dist', 'src', 'cli.js');
const MAIN = join(ROOT, 'dist', 'src', 'main.js');

type Ended = { code: number; stdout: string; stderr: string };
type Settings = Record<string, string>;
type Running = ChildProcessByStdio<null, Readable, Readable>;

let home: string;
let embedded: Settings;
const running: ChildProcess[] = [];
/** Connections to it are taken, and nothing is said on them. */
const silent = createServer((socket) => {
  sockets.add(socket);
  const began = performance.now();
  socket.on('close', () => silentMs.push(performance.now() - began)).resume();
});
const sockets = new Set<Socket>();
/** How long each connection lasted, which a busy machine does not stretch as it does the start of a program. */
const silentMs: number[] = [];
/** What takes its time, while the other tests run. */
let askedSilence: Promise<Ended[]>;
let addedAtOnce: Promise<Ended[]>;
const NAMES = ['one', 'two', 'three'];

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'scsp-cli-'));
  embedded = { DATA_DIR: join(home, '.data') };
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  const { port } = silent.address() as AddressInfo;
  const ask = (...args: string[]) => scsp({ DATABASE_URL: `postgres://scsp:open-sesame@127.0.0.1:${port}/scsp` }, args);
  await (await startEmbedded({ dir: join(home, '.data') })).stop();
  addedAtOnce = Promise.all(NAMES.map((name) => scsp(embedded, ['cpo', 'add', name, '--json'])));
  askedSilence = Promise.all([ask('cpo', 'list', '--json'), ask('migrate')]);
});
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  for (const socket of sockets) socket.destroy();
  silent.close();
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
});

const environment = (settings: Settings) => ({ PATH: process.env.PATH, ...settings });

/** Runs a program to its end, with these settings and no others, and this on standard input. */
function execute(file: string, args: readonly string[], settings: Settings, input = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(file, args, { env: environment(settings), cwd: ROOT }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin?.on('error', () => {}).end(input);
  });
}

const scsp = (settings: Settings, args: readonly string[], input?: string) =>
  execute(process.execPath, [CLI, ...args], settings, input);

/** Starts a program that is not waited for. */
function start(file: string, args: readonly string[], settings: Settings): Running {
  const env = environment(settings);
  const child = spawn(process.execPath, [file, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  return child;
}

/** The first line of JSON on its standard output that is wanted. */
async function said(
  { stdout, stderr }: Pick<Running, 'stdout' | 'stderr'>,
  wanted: (line: any) => boolean,
): Promise<any> {
  stderr.resume();
  for await (const line of createInterface({ input: stdout })) {
    const read = line.startsWith('{') ? JSON.parse(line) : {};
    if (!wanted(read)) continue;
    stdout.resume();
    return read;
  }
  throw new Error('it ended without saying so');
}

/** What a program reads: one JSON document, and nothing on standard error. */
function document({ code, stdout, stderr }: Ended): any {
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

const post = (url: string, token: string, body: unknown) =>
  fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

test('a refusal ends the program with 1, its reason alone on standard error', async () => {
  const settings = { DATABASE_URL: 'postgres://scsp:open-sesame@127.0.0.1:1/scsp' };
  expect(await scsp(settings, ['cpo', 'list', '--json'])).toEqual({
    code: 1,
    stdout: '',
    stderr:
      '{"message":"the database of DATABASE_URL (127.0.0.1:1/scsp) does not answer: connect ECONNREFUSED 127.0.0.1:1"}\n',
  });
});

test('wrong usage ends the program with 2, also when nobody reads why', async () => {
  const child = start(CLI, ['nonsense'], {});
  child.stderr.destroy();
  expect(await once(child, 'close')).toEqual([2, null]);
});

test('a data folder that cannot be used is reported', async () => {
  const file = join(home, 'file');
  writeFileSync(file, '');
  const refused = await scsp({ DATA_DIR: file }, ['cpo', 'list']);
  expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^scsp: .*\/file.*\n$/) });
});

test('a sandbox CPO takes the token that it is given, and does not repeat it', async () => {
  const env = environment({});
  const child = spawn(process.execPath, [CLI, 'sandbox-cpo', '--port', '0', '--token-stdin'], { env });
  running.push(child);
  child.stdin.end('a-token-of-mine\n');
  const [told] = await once(child.stdout, 'data');
  const [, url] = /^url {2}(http:\/\/localhost:\d+)\n$/.exec(String(told)) ?? [];
  const statusOf = async (token: string) => (await post(`${url}/v1/cpo/evse/unknown/unpair`, token, {})).status;
  expect([await statusOf('a-token-of-mine'), await statusOf('another-token')]).toEqual([404, 401]);
});

test('a sandbox CPO writes the codes that conformance cpo needs, and one rule is broken on demand', async () => {
  const codes = join(home, 'codes.json');
  const args = [
    'sandbox-cpo',
    '--port',
    '0',
    '--token-stdin',
    '--codes',
    codes,
    '--mutant',
    'pair-empty-body',
    '--json',
  ];
  const child = spawn(process.execPath, [CLI, ...args], { env: environment({}) });
  running.push(child);
  child.stdin.end('a-token-of-mine\n');
  const { url } = await said(child, () => true);
  const check = ['conformance', 'cpo', '--target', url, '--token-stdin', '--codes', codes, '--json'];
  const { code, stdout } = await scsp({}, check, 'a-token-of-mine\n');
  expect([code, JSON.parse(stdout).counts]).toEqual([
    1,
    { passed: cpoChecks.length - 4, failed: 1, warning: 0, not_run: 3 },
  ]);
});

test('a sandbox CPO knows no mutant of another name', async () => {
  const refused = await scsp({}, ['sandbox-cpo', '--port', '0', '--mutant', 'nothing']);
  expect(refused).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining('pair-empty-body') });
});

describe('the embedded database', () => {
  test('is started, migrated and stopped again by commands that start at once while no service runs', async () => {
    expect((await addedAtOnce).map(document).map(({ name }) => name)).toEqual(NAMES);
    expect(readdirSync(join(home, '.data')).sort()).toEqual(['postgres', 'postgres.log']);
  });

  describe('of a running service', () => {
    const command = async (args: string[], input?: string) =>
      document(await scsp(embedded, [...args, '--json'], input));
    let url: string;
    let stop: () => Promise<void>;
    beforeAll(async () => {
      const service = start(MAIN, [], { ...embedded, PORT: '0' });
      const ended = once(service, 'exit');
      ({ url } = await said(service, ({ message }) => message === 'listening'));
      stop = async () => {
        service.kill('SIGTERM');
        await ended;
      };
    });

    test('is reached, and what a command changes is in force in the service', async () => {
      const app = await command(['token', 'issue', '--app', 'Jedlix']);
      const issue = () => post(`${url}/v1/app/pairing-codes`, app.token, { user_id: 'u', charging_location_id: 'l' });
      expect((await untilStatus(201, issue)).status).toBe(201);
      await command(['token', 'revoke', app.id]);
      expect((await untilStatus(401, issue)).status).toBe(401);
    });

    test('has the key of the service: a code that a command issues pairs a station', async () => {
      const { cpo } = JSON.parse(readFileSync(join(home, '.data', 'sandbox.json'), 'utf8'));
      const { code } = await command(['code', 'issue', '--user', 'user-1', '--location', 'home']);
      const body = { code, charging_station: { ...station, uid: 'station-1' } };
      expect((await post(`${url}/v1/scsp/ocpp2.0.1/pair`, cpo.token, body)).status).toBe(200);
    });

    test('knows a CPO that a command adds, which the service calls with the token that it was given', async () => {
      const backend = start(CLI, ['sandbox-cpo', '--port', '0', '--json'], {});
      const given = await said(backend, () => true);
      expect(given).toEqual({
        url: expect.stringMatching(/^http:\/\/localhost:\d+$/),
        token: expect.stringMatching(/^[\w-]{43}$/),
      });
      const add = ['cpo', 'add', 'Volt', '--base-url', given.url, '--outbound-token-stdin'];
      const { id } = await command(add, `${given.token}\n`);

      const { app } = JSON.parse(readFileSync(join(home, '.data', 'sandbox.json'), 'utf8'));
      const body = { user_id: 'user-1', charging_location_id: 'home', cpo_id: id, payload_protocol: 'ocpp2.0.1' };
      const redeemed = await post(`${url}/v1/app/pairings`, app.token, { ...body, code: '200000' });
      expect([redeemed.status, await redeemed.json()]).toMatchObject([201, { uid: 'SANDBOX-200000', cpo_id: id }]);

      const ended = once(backend, 'exit');
      backend.kill('SIGTERM');
      expect(await ended).toEqual([null, 'SIGTERM']);
    });

    test('has a result that cannot be written: a failure', async () => {
      const child = start(CLI, ['cpo', 'list', '--json'], embedded);
      child.stdout.destroy();
      let stderr = '';
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      expect(await once(child, 'close')).toEqual([1, null]);
      expect(stderr).toMatch(/^\{"message":"write EPIPE"\}\n$/);
    });

    test('keeps what was done when the service has stopped, as npx in the project shows', async () => {
      await stop();
      // With a new cache npx would run `prepare`, which builds anew under whoever runs the built files.
      const npm = { HOME: home, npm_config_cache: join(home, 'npm'), npm_config_ignore_scripts: 'true' };
      const npx = await execute('npx', ['--no', 'scsp', 'station', 'list', '--json'], { ...embedded, ...npm });
      expect(document(npx).map(({ uid }: { uid: string }) => uid)).toEqual(['SANDBOX-200000', 'station-1']);
    });
  });
});

test('a database that never answers is reported within 10 seconds', async () => {
  for (const ended of await askedSilence) {
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(
      /the database of DATABASE_URL \(127\.0\.0\.1:\d+\/scsp\) does not answer: Connection terminated due to connection timeout/,
    );
  }
  expect(silentMs.length).toBeGreaterThanOrEqual(2);
  for (const ms of silentMs) expect(ms).toBeLessThan(10_000);
});
