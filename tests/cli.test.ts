import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { type Answer, aStation, createTestDatabase, type Harness, startHarness } from './harness';

jest.setTimeout(60_000);

const DIST = join(__dirname, '..', 'dist', 'src');
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
/** The time in which a change of tokens and CPOs is in force. */
const IN_FORCE_MS = 1_000;

type Ended = { code: number; stdout: string; stderr: string };
type Settings = Record<string, string>;

let service: Harness;
let home: string;
beforeAll(async () => {
  service = await startHarness();
  home = mkdtempSync(join(tmpdir(), 'scsp-cli-'));
});
afterAll(async () => {
  await service.stop();
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
});

/** Runs the built CLI with these settings and no others. */
function run(settings: Settings, ...args: string[]): Promise<Ended> {
  const env = { PATH: process.env.PATH, DATA_DIR: join(home, 'unused'), ...settings };
  return new Promise((resolve) => {
    execFile(process.execPath, [join(DIST, 'cli.js'), ...args], { env, cwd: home }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

/** With the settings of the running service. */
function scsp(...args: string[]): Promise<Ended> {
  return run({ DATABASE_URL: service.databaseUrl, SECRET_KEY: service.config.secretKey ?? '' }, ...args);
}

/** What a program reads: one JSON document, and nothing on standard error. */
function document({ code, stdout, stderr }: Ended): any {
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

const json = async (...args: string[]) => document(await scsp(...args, '--json'));

/** What a person reads: rows of cells, which stand at least two spaces apart. */
async function text(...args: string[]): Promise<string[][]> {
  const { code, stdout, stderr } = await scsp(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));
}

const refusal = (reason: string): Ended => ({ code: 1, stdout: '', stderr: `scsp: ${reason}\n` });

/** All of them, four at a time: each is a process. */
async function each<T>(items: readonly T[], start: (item: T) => Promise<Ended>): Promise<Ended[]> {
  const ended: Ended[] = [];
  for (let i = 0; i < items.length; i += 4) ended.push(...(await Promise.all(items.slice(i, i + 4).map(start))));
  return ended;
}

const addCpo = (): Promise<{ id: string; name: string }> => json('cpo', 'add', `CPO ${randomUUID()}`);

/** The status of an answer, asked for until it is the wanted one or that takes too long. */
async function statusWhenInForce(ask: () => Promise<Answer>, wanted: number): Promise<number> {
  const deadline = performance.now() + IN_FORCE_MS;
  let { status } = await ask();
  while (status !== wanted && performance.now() < deadline) ({ status } = await ask());
  return status;
}

const issueOverHttp = (token: string, url = service.url) =>
  fetch(`${url}/v1/app/pairing-codes`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user_id: randomUUID(), charging_location_id: 'home' }),
  });

describe('scsp cpo', () => {
  test('adding a CPO tells a program its id and name, and its base URL when it has one', async () => {
    const name = `CPO ${randomUUID()}`;
    expect(await json('cpo', 'add', `  ${name} `)).toEqual({ id: expect.stringMatching(UUID), name });
    const other = `CPO ${randomUUID()}`;
    expect(await json('cpo', 'add', other, '--base-url', 'https://cpo.example/scsp/')).toEqual({
      id: expect.stringMatching(UUID),
      name: other,
      base_url: 'https://cpo.example/scsp',
    });
  });

  test('adding a CPO tells a person the same, aligned', async () => {
    const name = `CPO ${randomUUID()}`;
    const { stdout } = await scsp('cpo', 'add', name, '--base-url', 'https://cpo.example');
    const [id] = stdout.match(/[0-9a-f-]{36}/) ?? [];
    expect(stdout).toBe(`id        ${id}\nname      ${name}\nbase url  https://cpo.example\n`);
  });

  test('two CPOs cannot have one name', async () => {
    const { name } = await addCpo();
    expect(await scsp('cpo', 'add', name, '--json')).toEqual(refusal(`a CPO with the name ${name} exists`));
  });

  test('a name that is empty, too long, of several lines or an escape sequence is refused', async () => {
    const refused = await each([' ', 'x'.repeat(129), 'a\nb', 'a\u001b[31mb'], (name) => scsp('cpo', 'add', name));
    for (const end of refused) expect(end).toEqual(refusal('NAME must have 1 to 128 printable characters'));
  });

  test('a name may have 128 characters of any script, and begin with a dash after --', async () => {
    const long = `${'🔌'.repeat(90)} ${randomUUID()}`;
    expect(await json('cpo', 'add', long)).toMatchObject({ name: long });
    const dashed = `--${randomUUID()}`;
    expect(document(await scsp('cpo', 'add', '--json', '--', dashed))).toMatchObject({ name: dashed });
  });

  test('a base URL that is not https, not public or holds a secret is refused', async () => {
    const reasons = {
      'http://cpo.example': 'must begin with https://',
      'ftp://cpo.example': 'must begin with https://',
      'cpo.example': 'must begin with https://',
      'https://localhost:8080': 'must not be at a private, loopback or otherwise special address',
      'https://127.1/': 'must not be at a private, loopback or otherwise special address',
      'https://[::1]/': 'must not be at a private, loopback or otherwise special address',
      'https://user:secret@cpo.example': 'must have no user, password, query or fragment',
      'https://cpo.example?token=secret': 'must have no user, password, query or fragment',
    };
    const refused = await each(Object.keys(reasons), (url) =>
      scsp('cpo', 'add', `CPO ${randomUUID()}`, '--base-url', url),
    );
    expect(refused).toEqual(Object.values(reasons).map((reason) => refusal(`the base URL ${reason}`)));
  });

  test('the sandbox takes a base URL with http on a loopback address', async () => {
    const settings = { DATABASE_URL: service.databaseUrl, SANDBOX: 'true' };
    const name = `CPO ${randomUUID()}`;
    const added = await run(settings, 'cpo', 'add', name, '--base-url', 'http://localhost:4000', '--json');
    expect(document(added)).toMatchObject({ base_url: 'http://localhost:4000' });
  });

  test('the list shows every CPO and since when it is suspended', async () => {
    const { id, name } = await addCpo();
    await json('cpo', 'suspend', id);
    const listed = (await json('cpo', 'list')).find((cpo: { id: string }) => cpo.id === id);
    expect(listed).toEqual({
      id,
      name,
      created_at: expect.stringMatching(RFC_3339),
      suspended_at: expect.stringMatching(RFC_3339),
    });
    const [heading, ...rows] = await text('cpo', 'list');
    expect(heading).toEqual(['ID', 'NAME', 'BASE URL', 'CREATED AT', 'SUSPENDED AT']);
    expect(rows).toContainEqual([id, name, '-', listed.created_at, listed.suspended_at]);
  });

  test('the columns of a list are aligned', async () => {
    await addCpo();
    const { stdout } = await scsp('cpo', 'list');
    const [heading = '', ...rows] = stdout.trimEnd().split('\n');
    const column = heading.indexOf('CREATED AT');
    expect(rows.length).toBeGreaterThan(0);
    for (const row of rows) expect(row.slice(column, column + 24)).toMatch(RFC_3339);
  });

  test('a suspended CPO is refused by the running service within a second, and a resumed one served', async () => {
    const { id, token } = await service.cpo();
    const pair = () => service.pair({ id, name: '', token }, '000000');
    expect((await pair()).status).toBe(404);

    const suspended = await json('cpo', 'suspend', id);
    expect(suspended).toMatchObject({ id, suspended_at: expect.stringMatching(RFC_3339) });
    expect(await statusWhenInForce(pair, 403)).toBe(403);
    expect(await json('cpo', 'suspend', id)).toEqual(suspended);

    expect(await json('cpo', 'resume', id)).not.toHaveProperty('suspended_at');
    expect(await statusWhenInForce(pair, 404)).toBe(404);
  });

  test('a person is told of a suspension and its end', async () => {
    const { id, name } = await addCpo();
    expect(await text('cpo', 'suspend', id)).toEqual([
      ['id', id],
      ['name', name],
      ['created at', expect.stringMatching(RFC_3339)],
      ['suspended at', expect.stringMatching(RFC_3339)],
    ]);
    expect((await text('cpo', 'resume', id)).map(([field]) => field)).toEqual(['id', 'name', 'created at']);
  });

  test('an unknown CPO can neither be suspended nor resumed', async () => {
    for (const id of [randomUUID(), 'no-such-cpo']) {
      const refused = await each(['suspend', 'resume'], (verb) => scsp('cpo', verb, id));
      for (const end of refused) expect(end).toEqual(refusal(`no CPO has the id ${id}`));
    }
  });
});

describe('scsp token', () => {
  test("a CPO's token works against the running service, for a year", async () => {
    const { id } = await addCpo();
    const issued = await json('token', 'issue', '--cpo', id);
    expect(issued).toEqual({
      id: expect.stringMatching(UUID),
      token: expect.stringMatching(/^scsp_cpo_[\w-]{43}$/),
      expires_at: expect.stringMatching(RFC_3339),
    });
    expect((Date.parse(issued.expires_at) - Date.now()) / 86_400_000).toBeCloseTo(365, 0);
    const pair = () => service.pair({ id, name: '', token: issued.token }, '000000');
    expect(await statusWhenInForce(pair, 404)).toBe(404);
  });

  test("an app's token works against the running service until it is revoked, within a second", async () => {
    const issued = await json('token', 'issue', '--app', `app ${randomUUID()}`);
    const ask = async () =>
      service.request('POST', '/v1/app/pairing-codes', {
        token: issued.token,
        body: { user_id: randomUUID(), charging_location_id: 'home' },
      });
    expect(await statusWhenInForce(ask, 201)).toBe(201);

    const revoked = await json('token', 'revoke', issued.id);
    expect(revoked).toEqual({ id: issued.id, revoked_at: expect.stringMatching(RFC_3339) });
    expect(await statusWhenInForce(ask, 401)).toBe(401);
    expect(await json('token', 'revoke', issued.id)).toEqual(revoked);
  });

  test('a person sees a token once and is told so', async () => {
    const app = `app ${randomUUID()}`;
    const issued = await text('token', 'issue', '--app', app);
    expect(issued).toEqual([
      ['id', expect.stringMatching(UUID)],
      ['token', expect.stringMatching(/^scsp_app_[\w-]{43}$/)],
      ['expires at', expect.stringMatching(RFC_3339)],
      [''],
      ['Keep the token now: it is not shown again.'],
    ]);
    const lists = (await scsp('token', 'list')).stdout + (await scsp('token', 'list', '--json')).stdout;
    expect(lists).toContain(app);
    expect(lists).not.toContain('scsp_app_');
  });

  test('the list shows whose each token is and whether it is revoked', async () => {
    const cpo = await addCpo();
    const { id } = await json('token', 'issue', '--cpo', cpo.id);
    const [, [, revokedAt] = []] = await text('token', 'revoke', id);
    const listed = (await json('token', 'list')).find((token: { id: string }) => token.id === id);
    expect(listed).toEqual({
      id,
      role: 'cpo',
      cpo_id: cpo.id,
      owner: cpo.name,
      created_at: expect.stringMatching(RFC_3339),
      expires_at: expect.stringMatching(RFC_3339),
      revoked_at: revokedAt,
    });
    const [heading, ...rows] = await text('token', 'list');
    expect(heading).toEqual(['ID', 'ROLE', 'OWNER', 'CREATED AT', 'EXPIRES AT', 'REVOKED AT']);
    expect(rows).toContainEqual([id, 'cpo', cpo.name, listed.created_at, listed.expires_at, revokedAt]);
  });

  test('there is no token for an unknown CPO, and none to revoke under an unknown id', async () => {
    for (const id of [randomUUID(), 'nobody']) {
      expect(await scsp('token', 'issue', '--cpo', id, '--json')).toEqual(refusal(`no CPO has the id ${id}`));
      expect(await scsp('token', 'revoke', id, '--json')).toEqual(refusal(`no token has the id ${id}`));
    }
  });

  test('a token is for a CPO or for an app, not for both and not for neither', async () => {
    expect(await scsp('token', 'issue')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('--cpo'),
    });
    const both = await scsp('token', 'issue', '--cpo', randomUUID(), '--app', 'app');
    expect(both).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('cannot be used with') });
  });
});

describe('scsp code', () => {
  test('a code that the CLI issues pairs a station over HTTP', async () => {
    const cpo = await service.cpo();
    const user = randomUUID();
    const issued = await json('code', 'issue', '--user', user, '--location', 'home');
    expect(issued).toEqual({
      id: expect.stringMatching(UUID),
      code: expect.stringMatching(/^\d{6}$/),
      status: 'active',
      user_id: user,
      charging_location_id: 'home',
      created_at: expect.stringMatching(RFC_3339),
      expires_at: expect.stringMatching(RFC_3339),
    });
    expect((await service.pair(cpo, issued.code)).status).toBe(200);
    expect((await service.followCode(issued.id)).body).toMatchObject({ status: 'used', user_id: user });
  });

  test('its answer has the members of the HTTP answer, in the same order', async () => {
    const { id } = await service.cpo();
    const issued = await json('code', 'issue', '--user', randomUUID(), '--location', 'home', '--cpo', id);
    expect(issued.cpo_id).toBe(id);
    expect(Object.keys(issued)).toEqual(Object.keys(await service.code({ cpo_id: id })));
  });

  test('a new code cancels the old one, whoever issued it', async () => {
    const user = randomUUID();
    const old = await service.code({ user_id: user, charging_location_id: 'home' });
    await json('code', 'issue', '--user', user, '--location', 'home');
    expect((await service.followCode(old.id)).body.status).toBe('cancelled');
  });

  test('a person sees the code and its life', async () => {
    const { id } = await service.cpo();
    const issued = await text('code', 'issue', '--user', 'user-1', '--location', 'home', '--cpo', id);
    expect(issued.slice(1)).toEqual([
      ['code', expect.stringMatching(/^\d{6}$/)],
      ['status', 'active'],
      ['user id', 'user-1'],
      ['charging location id', 'home'],
      ['cpo id', id],
      ['created at', expect.stringMatching(RFC_3339)],
      ['expires at', expect.stringMatching(RFC_3339)],
    ]);
  });

  test('what is no id is refused, and so is an unknown CPO', async () => {
    const issue = (user: string, location: string, cpo: string = randomUUID()) =>
      scsp('code', 'issue', '--user', user, '--location', location, '--cpo', cpo);
    expect(await issue('', 'home')).toEqual(refusal('--user must have 1 to 128 printable characters'));
    expect(await issue('user', 'x'.repeat(129))).toEqual(refusal('--location must have 1 to 128 printable characters'));
    expect(await issue('user', 'home')).toEqual(refusal('cpo_id is not the id of a known CPO'));
    expect(await issue('user', 'home', 'volt')).toEqual(refusal('no CPO has the id volt'));
  });
});

describe('scsp station', () => {
  test('the list shows the stations of all CPOs, the latest first, and as many as wanted', async () => {
    const uids: string[] = [];
    for (const user_id of [randomUUID(), randomUUID(), randomUUID()]) {
      const cpo = await service.cpo();
      const station = aStation();
      expect((await service.pair(cpo, (await service.code({ user_id })).code, station)).status).toBe(200);
      uids.unshift(station.uid);
    }
    const listed = await json('station', 'list');
    expect(listed.slice(0, 3).map(({ uid }: { uid: string }) => uid)).toEqual(uids);
    expect(listed[0]).toEqual({
      uid: uids[0],
      cpo_id: expect.stringMatching(UUID),
      user_id: expect.any(String),
      charging_location_id: 'home',
      payload_protocol: 'ocpp2.0.1',
      paired_at: expect.stringMatching(RFC_3339),
    });
    expect(await json('station', 'list', '--limit', '2')).toEqual(listed.slice(0, 2));

    const [heading, ...rows] = await text('station', 'list', '--limit', '2');
    expect(heading).toEqual(['UID', 'CPO ID', 'USER ID', 'CHARGING LOCATION ID', 'PAYLOAD PROTOCOL', 'PAIRED AT']);
    expect(rows).toEqual(listed.slice(0, 2).map((station: object) => Object.values(station)));
  });

  test('a pairing that has ended is not in the list', async () => {
    const station = aStation();
    await service.pair(await service.cpo(), (await service.code()).code, station);
    await service.sql.query('update pairings set ended_at = now() where station_uid = lower($1)', [station.uid]);
    expect(JSON.stringify(await json('station', 'list'))).not.toContain(station.uid);
  });

  test('a limit that is no whole number from 1 to a million is wrong usage', async () => {
    const wrong = await each(['0', '-1', 'many', '1.5', '1000001'], (n) => scsp('station', 'list', '--limit', n));
    for (const end of wrong)
      expect(end).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('a whole number') });
  });
});

describe('scsp migrate', () => {
  test('an empty database is asked to be migrated, and then serves', async () => {
    const database = await createTestDatabase();
    await query(database.url, 'drop schema public cascade; create schema public');
    const settings = { DATABASE_URL: database.url };
    const before = await run(settings, 'cpo', 'list', '--json');
    expect(before).toEqual(refusal('the database has not been migrated to this version: run scsp migrate'));
    const { migrated } = document(await run(settings, 'migrate', '--json'));
    expect(migrated).toBeGreaterThan(0);
    expect(document(await run(settings, 'cpo', 'list', '--json'))).toEqual([]);
    expect(document(await run(settings, 'migrate', '--json'))).toEqual({ migrated: 0 });
    await database.drop();
  });

  test('a database of an earlier version is asked to be migrated', async () => {
    const database = await createTestDatabase();
    await query(database.url, 'delete from migrations where id = (select max(id) from migrations)');
    const behind = await run({ DATABASE_URL: database.url }, 'token', 'list');
    expect(behind).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/: run scsp migrate\n$/) });
    await database.drop();
  });

  test('a person is told how many migrations ran', async () => {
    expect(await text('migrate')).toEqual([['migrated', '0']]);
  });
});

describe('scsp', () => {
  test('--json may stand anywhere', async () => {
    const { id } = await addCpo();
    const wanted = await json('cpo', 'resume', id);
    for (const args of [
      ['--json', 'cpo', 'resume', id],
      ['cpo', '--json', 'resume', id],
      ['cpo', 'resume', '--json', id],
    ])
      expect(document(await scsp(...args))).toEqual(wanted);
  });

  test('a command line that cannot be understood is wrong usage', async () => {
    const lines = [
      [],
      ['nonsense'],
      ['cpo'],
      ['cpo', 'nonsense'],
      ['cpo', 'add'],
      ['cpo', 'add', 'one', 'two'],
      ['cpo', 'add', 'one', '--token', 'secret'],
      ['cpo', 'list', '--nonsense'],
      ['cpo', 'suspend'],
      ['token', 'revoke'],
      ['code', 'issue', '--user', 'user-1'],
      ['code', 'issue', '--location', 'home', '--json'],
      ['station', 'list', '--limit'],
    ];
    for (const end of await each(lines, (args) => scsp(...args)))
      expect(end).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(/./) });
  });

  test('every command helps, even without a database, and every verb with examples', async () => {
    const help = (args: string[]) => run({ DATABASE_URL: 'postgres://127.0.0.1:1/none' }, ...args);
    const nouns = ['cpo', 'token', 'code', 'station'];
    for (const end of await each([...nouns.map((noun) => [noun, '--help']), ['help', 'cpo']], help))
      expect(end).toEqual({ code: 0, stderr: '', stdout: expect.stringMatching(/^Usage: scsp \w+ /) });
    const verbs = [
      'migrate',
      'cpo add',
      'cpo list',
      'cpo suspend',
      'cpo resume',
      'token issue',
      'token list',
      'token revoke',
      'code issue',
      'station list',
    ].map((verb) => [...verb.split(' '), '--help']);
    for (const end of await each([['--help'], ['help'], ...verbs], help))
      expect(end).toEqual({
        code: 0,
        stderr: '',
        stdout: expect.stringMatching(/^Usage: scsp .*\nExamples:\n {2}\$ scsp /s),
      });
  });

  test('npx runs it in the project', async () => {
    const env = {
      PATH: process.env.PATH,
      HOME: home,
      npm_config_cache: join(home, 'npm'),
      DATABASE_URL: service.databaseUrl,
    };
    const npx = promisify(execFile)('npx', ['--no', 'scsp', 'cpo', 'list', '--json'], {
      env,
      cwd: join(__dirname, '..'),
    });
    expect(JSON.parse((await npx).stdout)).toEqual(await json('cpo', 'list'));
  });

  test('all faults of the settings are told in one line, without what they hold', async () => {
    const settings = { PORT: 'x', CODE_LENGTH: '99', DATABASE_URL: 'mysql://scsp:open-sesame@localhost/scsp' };
    const refused = await run(settings, 'cpo', 'list', '--json');
    expect(refused).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^scsp: the settings have faults: CODE_LENGTH .*; DATABASE_URL .*; PORT .*\n$/),
    });
    expect(refused.stderr).not.toContain('open-sesame');
  });

  test('a result that cannot be written is a failure', async () => {
    const child = spawn(process.execPath, [join(DIST, 'cli.js'), 'cpo', 'list', '--json'], {
      env: { PATH: process.env.PATH, DATABASE_URL: service.databaseUrl },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^scsp: .*EPIPE\n$/) });
  });

  describe('with a database that is away', () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => sockets.add(socket));
    beforeAll(() => once(silent.listen(0, '127.0.0.1'), 'listening'));
    afterAll(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const silentUrl = () => `postgres://scsp:open-sesame@127.0.0.1:${(silent.address() as AddressInfo).port}/scsp`;
    const wrong = (part: 'pathname' | 'password') => {
      const url = new URL(service.databaseUrl);
      url[part] = 'open-sesame';
      return url.href;
    };

    test.each([
      ['refuses connections', () => 'postgres://scsp:open-sesame@127.0.0.1:1/scsp', 'connect ECONNREFUSED 127.0.0.1:1'],
      ['never answers', silentUrl, 'Connection terminated due to connection timeout'],
      ['does not exist', () => wrong('pathname'), 'database "open-sesame" does not exist'],
    ])('one that %s is told of within 10 seconds', async (_what, url, reason) => {
      for (const args of [['cpo', 'list', '--json'], ['migrate']]) {
        const began = performance.now();
        const refused = await run({ DATABASE_URL: url() }, ...args);
        expect(performance.now() - began).toBeLessThan(10_000);
        expect(refused).toEqual(refusal(`the database does not answer: ${reason}`));
      }
    });

    test('the password that a database refuses is not told', async () => {
      const { stdout, stderr } = await run({ DATABASE_URL: wrong('password') }, 'cpo', 'list');
      expect(stdout + stderr).not.toContain('open-sesame');
    });
  });

  test('a database that holds a table back is told of, too', async () => {
    const client = new Client(service.databaseUrl);
    await client.connect();
    await client.query('begin; lock table cpos in access exclusive mode');
    const refused = await scsp('cpo', 'add', `CPO ${randomUUID()}`);
    await client.end();
    expect(refused).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^scsp: the database does not answer: .*timeout\n$/),
    });
  });
});

describe('without DATABASE_URL', () => {
  let dir: string;
  let child: ChildProcess | undefined;
  beforeEach(() => {
    dir = join(mkdtempSync(join(home, 'embedded-')), '.data');
  });
  afterEach(() => {
    child?.kill('SIGKILL');
    child = undefined;
  });

  const embedded = (...args: string[]) => run({ DATA_DIR: dir }, ...args);

  async function startService(): Promise<{ url: string; stop(): Promise<void> }> {
    const started = spawn(process.execPath, [join(DIST, 'main.js')], {
      env: { PATH: process.env.PATH, DATA_DIR: dir, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child = started;
    const ended = once(started, 'exit');
    for await (const line of createInterface({ input: started.stdout })) {
      const log = line.startsWith('{') ? JSON.parse(line) : {};
      if (log.message !== 'listening') continue;
      started.stdout.resume();
      return {
        url: log.url,
        async stop() {
          started.kill('SIGTERM');
          await ended;
        },
      };
    }
    throw new Error('the service ended before it listened');
  }

  test('the embedded database is reached while the service runs, and changes are in force there', async () => {
    const running = await startService();
    expect(document(await embedded('migrate', '--json'))).toEqual({ migrated: 0 });

    const app = document(await embedded('token', 'issue', '--app', 'Jedlix', '--json'));
    const statusOf = async (token: string) => {
      const { status } = await issueOverHttp(token, running.url);
      return { status, headers: new Headers(), body: undefined };
    };
    expect(await statusWhenInForce(() => statusOf(app.token), 201)).toBe(201);
    document(await embedded('token', 'revoke', app.id, '--json'));
    expect(await statusWhenInForce(() => statusOf(app.token), 401)).toBe(401);

    const { cpo } = JSON.parse(readFileSync(join(dir, 'sandbox.json'), 'utf8'));
    const { code } = document(await embedded('code', 'issue', '--user', 'user-1', '--location', 'home', '--json'));
    const paired = await fetch(`${running.url}/v1/scsp/ocpp2.0.1/pair`, {
      method: 'POST',
      headers: { authorization: `Bearer ${cpo.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ code, charging_station: aStation('station-1') }),
    });
    expect(paired.status).toBe(200);
    const stations = document(await embedded('station', 'list', '--json'));
    expect(stations).toMatchObject([{ uid: 'station-1', cpo_id: cpo.id, user_id: 'user-1' }]);

    await running.stop();
    expect(document(await embedded('station', 'list', '--json'))).toEqual(stations);
  });

  test('the embedded database is made, migrated and stopped again while no service runs', async () => {
    const { id, name } = document(
      await embedded('cpo', 'add', 'Volt', '--base-url', 'http://localhost:4000', '--json'),
    );
    expect(name).toBe('Volt');
    const { token } = document(await embedded('token', 'issue', '--cpo', id, '--json'));
    expect(readdirSync(dir).sort()).toEqual(['postgres', 'postgres.log']);

    const running = await startService();
    const refused = await fetch(`${running.url}/v1/scsp/ocpp2.0.1/pair`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ code: '000000', charging_station: aStation() }),
    });
    expect(refused.status).toBe(404);
    await running.stop();
  });

  test('commands at the same time all succeed', async () => {
    const names = ['one', 'two', 'three', 'four', 'five'];
    const added = await Promise.all(names.map((name) => embedded('cpo', 'add', name, '--json')));
    expect(added.map(document).map(({ name }) => name)).toEqual(names);
    expect(document(await embedded('cpo', 'list', '--json'))).toHaveLength(names.length);
  });

  test('a data folder that cannot be used is told of', async () => {
    mkdirSync(join(dir, '..'), { recursive: true });
    writeFileSync(dir, 'a file');
    const refused = await embedded('cpo', 'list');
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^scsp: .*\.data.*\n$/) });
  });
});

async function query(url: string, sql: string): Promise<void> {
  const client = new Client(url);
  await client.connect();
  await client.query(sql).finally(() => client.end());
}
