import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli';
import { command } from '../harness/a-command';
import { type Harness, startHarness } from '../harness/harness';

// What programs and people rely on in every command, whatever it does.

let service: Harness;
let home: string;
beforeAll(async () => {
  service = await startHarness();
  home = mkdtempSync(join(tmpdir(), 'scsp-programs-'));
});
afterAll(async () => {
  await service.stop();
  rmSync(home, { recursive: true, force: true });
});

const settings = () => ({ DATABASE_URL: service.databaseUrl, SECRET_KEY: service.config.secretKey ?? '' });
const scsp = (...args: string[]) => command(settings(), args);

async function json(...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await scsp(...args, '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

test('the version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8'));
  expect(await scsp('--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  expect(JSON.parse((await scsp('--version', '--json')).stdout)).toEqual({ version });
});

describe('under --json', () => {
  test.each([
    ['wrong usage', ['nonsense', '--json'], 2, "unknown command 'nonsense'"],
    ['a missing argument', ['--json', 'cpo', 'add'], 2, "missing required argument 'NAME'"],
    ['a noun alone', ['cpo', '--json'], 2, 'Usage: scsp cpo'],
    ['a refusal', ['token', 'revoke', 'none', '--json'], 1, 'no token has the id none'],
  ])('%s is one JSON document on standard error', async (_what, args, code, words) => {
    const ended = await scsp(...args);
    expect(ended).toMatchObject({ code, stdout: '' });
    expect(JSON.parse(ended.stderr)).toEqual({ message: expect.stringMatching(new RegExp(`^${words}`)) });
  });

  test('a name behind -- is no option', async () => {
    const { id } = await json('cpo', 'add', 'Station --json');
    expect(await scsp('token', 'revoke', '--', '--json')).toMatchObject({
      stderr: 'scsp: no token has the id --json\n',
    });
    expect(await json('cpo', 'suspend', 'Station --json')).toMatchObject({ id });
  });
});

test('a CPO is given by its id, in either case, or by its name, and an id wins', async () => {
  const name = `Station Works ${randomUUID()}`;
  const { id } = await json('cpo', 'add', name);
  // Another CPO has that id for a name.
  const other = await json('cpo', 'add', id);
  for (const given of [id, id.toUpperCase(), name]) {
    expect((await json('cpo', 'suspend', given)).id).toBe(id);
    expect((await json('cpo', 'resume', given)).id).toBe(id);
    expect((await json('cpo', 'call', given, '--base-url', 'https://volt.example')).id).toBe(id);
    const token = await json('token', 'issue', '--cpo', given);
    expect(await json('token', 'list')).toContainEqual(expect.objectContaining({ id: token.id, cpo_id: id }));
    expect((await json('code', 'issue', '--user', 'u', '--location', 'l', '--cpo', given)).cpo_id).toBe(id);
    expect(await json('attempts', 'list', '--cpo', given)).toEqual([]);
  }
  expect((await json('cpo', 'list')).find((cpo: { id: string }) => cpo.id === other.id).base_url).toBeUndefined();
});

test('the audit log names SCSP_ACTOR where it is set', async () => {
  const name = `CPO ${randomUUID()}`;
  expect((await command({ ...settings(), SCSP_ACTOR: 'alice@jedlix.com' }, ['cpo', 'add', name])).code).toBe(0);
  const [last] = await json('audit', 'list', '--limit', '1');
  expect(last).toMatchObject({ action: 'cpo.add', actor: 'alice@jedlix.com' });
});

test('a token that could not be shown is not stored, and a rotation then leaves the old one as it was', async () => {
  const { id } = await json('token', 'issue', '--app', 'Jedlix app');
  const before = await json('token', 'list');
  const audited = await json('audit', 'list');
  const full = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no space left on device')) });
  full.on('error', () => {});
  for (const args of [
    ['issue', '--app', 'another app'],
    ['rotate', id],
  ]) {
    let stderr = '';
    const into = new Writable({
      write(chunk, _encoding, done) {
        stderr += chunk;
        done();
      },
    });
    const stopSignal = () => new AbortController().signal;
    const shell = {
      env: { DATA_DIR: home, ...settings() },
      stdin: Readable.from([]),
      stdout: full,
      stderr: into,
      stopSignal,
    };
    expect(await run(['token', ...args], shell)).toBe(1);
    expect(stderr).toMatch(/no space left on device|write after|destroyed/);
  }
  expect(await json('token', 'list')).toEqual(before);
  expect(await json('audit', 'list')).toEqual(audited);
});

describe('without DATABASE_URL', () => {
  test.each([['cpo', 'list'], ['migrate'], ['token', 'issue', '--app', 'app']])(
    '%s %s finds no embedded database and makes none',
    async (...args) => {
      const DATA_DIR = join(home, randomUUID());
      expect(await command({ DATA_DIR }, args.filter(Boolean))).toEqual({
        code: 1,
        stdout: '',
        stderr: `scsp: DATABASE_URL is not set, and DATA_DIR (${DATA_DIR}) has no embedded database: set DATABASE_URL, or set DATA_DIR to the data directory of the service\n`,
      });
      expect(existsSync(DATA_DIR)).toBe(false);
    },
  );

  test('it is required in production', async () => {
    const ended = await command({ NODE_ENV: 'production', SECRET_KEY: 'x'.repeat(32) }, ['cpo', 'list']);
    expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('DATABASE_URL is required') });
  });
});
