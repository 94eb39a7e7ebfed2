import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch } from '../harness/a-process';
import { createTestDatabase, SECRET_KEY } from '../harness/harness';
import { listenOn } from '../harness/listen';

// The built service as a process on hosts as they are.

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let home: string;
beforeAll(async () => {
  database = await createTestDatabase();
  home = mkdtempSync(join(tmpdir(), 'scsp-hosts-'));
});
afterAll(async () => {
  await database.drop();
  rmSync(home, { recursive: true, force: true });
});

const settings = () => ({ DATABASE_URL: database.url, SECRET_KEY, DATA_DIR: home });

/** Starts, asks whether it is ready, stops; returns what it said. */
async function life(service: ReturnType<typeof launch>): Promise<{ stdout: string; stderr: string }> {
  const url = await service.url();
  expect((await fetch(`${url}/ready`)).status).toBe(200);
  service.child.kill('SIGTERM');
  expect(await service.exited).toBe(0);
  return service.output();
}

/** Runs a command as a user that has no name, where the kernel lets us. */
const NAMELESS = ['unshare', '--user', '--map-user=54321', '--'];
const canBeNameless = () => spawnSync('unshare', [...NAMELESS.slice(1), 'true']).status === 0;

test('without HOME, for a user without a name and in a folder that is not its own, the service starts', async () => {
  await life(launch(settings(), { within: canBeNameless() ? NAMELESS : [], cwd: '/proc' }));
});

test('a proxy and settings of other programs in the environment change nothing', async () => {
  const proxy = 'http://127.0.0.1:1';
  const others = {
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    HTTPS_PROXY: proxy,
    ALL_PROXY: proxy,
  };
  await life(
    launch({ ...settings(), ...others, PGOPTIONS: '-c no.such=setting -c datestyle=German', TZ: 'Asia/Kolkata' }),
  );
});

test('on a kernel without IPv6 the service and its metrics listen on IPv4', async () => {
  const file = join(home, 'no-ipv6.cjs');
  // What libuv answers where the kernel has no such sockets: EAFNOSUPPORT.
  writeFileSync(file, `process.binding('tcp_wrap').TCP.prototype.bind6 = () => -97;`);
  await life(launch({ ...settings(), METRICS_PORT: '0', NODE_OPTIONS: `--require ${file}` }));
});

describe('an address that cannot be listened on is refused with its setting', () => {
  const refused = async (changes: Record<string, string>, words: RegExp) => {
    const service = launch({ ...settings(), ...changes });
    expect(await service.exited).toBe(1);
    expect(service.output().stderr).toMatch(words);
  };

  test('a port in use', async () => {
    const other = createServer();
    const port = String(await listenOn(other));
    const at = { HOST: '127.0.0.1' };
    await refused(
      { ...at, PORT: port },
      new RegExp(`cannot start: PORT ${port} is in use: .* set PORT to another port`),
    );
    await refused({ ...at, METRICS_PORT: port }, new RegExp(`cannot start: METRICS_PORT ${port} is in use: `));
    other.close();
  });

  test("a HOST that is not the machine's", () =>
    refused({ HOST: '192.0.2.1' }, /cannot start: HOST 192\.0\.2\.1 is not an address of this machine/));
});

test('a database that does not answer is named with its setting, and without its password', async () => {
  const service = launch({ ...settings(), DATABASE_URL: 'postgres://app:open-sesame@127.0.0.1:1/scsp' });
  expect(await service.exited).toBe(1);
  const { stdout, stderr } = service.output();
  expect(stderr).toBe(
    'scsp-pairing cannot start: the database of DATABASE_URL (127.0.0.1:1/scsp) does not answer: connect ECONNREFUSED 127.0.0.1:1\n',
  );
  expect(stdout).not.toContain('open-sesame');
});

test('warnings of Node.js and of drivers are lines of JSON on standard output', async () => {
  const file = join(home, 'warning.cjs');
  writeFileSync(file, `process.emitWarning('in the way', 'DeprecationWarning', 'DEP0000');`);
  const { stdout, stderr } = await life(launch({ ...settings(), NODE_OPTIONS: `--require ${file}` }));
  expect(stderr).toBe('');
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines).toContainEqual(
    expect.objectContaining({ level: 'warn', message: 'warning of Node.js', reason: 'DeprecationWarning: in the way' }),
  );
});

test('the sandbox starts on the last port, and its text names the file with the tokens as it is', async () => {
  const service = launch({ DATA_DIR: join(home, 'sandbox'), PORT: '65535' });
  const [, file = ''] = await service.said(/Tokens: (\S+) {3}Stop: Ctrl-C/);
  expect(file).toBe(join(home, 'sandbox', 'sandbox.json'));
  expect(JSON.parse(readFileSync(file, 'utf8')).url).toBe('http://localhost:65535');
  service.child.kill('SIGTERM');
  expect(await service.exited).toBe(0);
});
