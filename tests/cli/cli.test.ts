import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { Client } from 'pg';
import { run } from '../../src/cli';
import { createLog } from '../../src/log';
import { type SandboxCpo, startSandboxCpo } from '../../src/sandbox/cpo';
import { aStation, createTestDatabase, type Harness, startHarness } from '../harness/harness';
import { untilStatus } from '../harness/until';

// Commands run in this process, which is quick; cli-process.test.ts runs the program.

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
/** Nobody listens there. */
const CLOSED = 'http://127.0.0.1:1';

type Ended = { code: number; stdout: string; stderr: string };
type Settings = Record<string, string>;

let service: Harness;
let home: string;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
  home = mkdtempSync(join(tmpdir(), 'scsp-cli-'));
});
afterAll(async () => {
  await service.stop();
  rmSync(home, { recursive: true, force: true });
});

const unused = () => join(home, 'unused');

/** Runs a command with these settings and no others, and this on standard input. */
async function runWith(settings: Settings, args: readonly string[], input: Iterable<string> = []): Promise<Ended> {
  const said = { stdout: '', stderr: '' };
  const into = (name: keyof typeof said) =>
    new Writable({
      write(chunk, _encoding, done) {
        said[name] += chunk;
        done();
      },
    });
  const env = { DATA_DIR: unused(), ...settings };
  const stopSignal = () => new AbortController().signal;
  const shell = { env, stdin: Readable.from(input), stdout: into('stdout'), stderr: into('stderr'), stopSignal };
  return { code: await run(args, shell), ...said };
}

/** The settings of the running service. */
const settings = (): Settings => ({
  DATABASE_URL: service.databaseUrl,
  SECRET_KEY: service.config.secretKey ?? '',
  SANDBOX: String(service.config.sandbox),
});

const scsp = (...args: string[]) => runWith(settings(), args);

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
/** The same for a program, under `--json`. */
const jsonRefusal = (message: string): Ended => ({ code: 1, stdout: '', stderr: `${JSON.stringify({ message })}\n` });
const wrongUsage = (words: string): Ended => ({ code: 2, stdout: '', stderr: expect.stringContaining(words) });

const each = <T>(items: readonly T[], start: (item: T) => Promise<Ended>) => Promise.all(items.map(start));

const addCpo = (): Promise<{ id: string; name: string }> => json('cpo', 'add', `CPO ${randomUUID()}`);

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
    expect(await scsp('cpo', 'add', name, '--json')).toEqual(jsonRefusal(`a CPO with the name ${name} already exists`));
  });

  test('a name has 1 to 128 printable characters of any script, and may begin with a dash after --', async () => {
    const refused = await each([' ', 'x'.repeat(129), 'a\nb', 'a\u001b[31mb'], (name) => scsp('cpo', 'add', name));
    for (const end of refused) expect(end).toEqual(refusal('NAME must have 1 to 128 printable characters'));
    const long = `${'🔌'.repeat(91)} ${randomUUID()}`;
    expect(await json('cpo', 'add', long)).toMatchObject({ name: long });
    const dashed = `--${randomUUID()}`;
    expect(document(await scsp('cpo', 'add', '--json', '--', dashed))).toMatchObject({ name: dashed });
  });

  test('a base URL that is not https, not public or holds a secret is refused', async () => {
    const production = await createTestDatabase();
    const DATABASE_URL = production.url;
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
      runWith({ DATABASE_URL, SECRET_KEY: 'unused' }, ['cpo', 'add', 'CPO', '--base-url', url]),
    );
    expect(refused).toEqual(Object.values(reasons).map((reason) => refusal(`the base URL ${reason}`)));
    await production.drop();
  });

  test('the sandbox takes a base URL with http on a loopback address', async () => {
    const name = `CPO ${randomUUID()}`;
    const added = await runWith(settings(), ['cpo', 'add', name, '--base-url', 'http://localhost:4000', '--json']);
    expect(document(added)).toMatchObject({ base_url: 'http://localhost:4000' });
  });

  test('the token that a CPO gave us is read from standard input and stored encrypted, each time differently', async () => {
    const token = `given.${randomUUID()}~+/==`;
    const add = async () => {
      const args = ['cpo', 'add', `CPO ${randomUUID()}`, '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
      const added = document(await runWith(settings(), [...args, '--json'], ` ${token}\n`));
      expect(Object.keys(added)).toEqual(['id', 'name', 'base_url']);
      const { rows } = await service.sql.query('select *, cpos::text as whole from cpos where id = $1', [added.id]);
      return rows[0];
    };
    const [one, other] = [await add(), await add()];
    for (const { outbound_token, outbound_key_id, whole } of [one, other]) {
      expect(outbound_key_id).toMatch(/^[0-9a-f]{16}$/);
      expect(outbound_token.length).toBeGreaterThan(token.length);
      expect(outbound_token.includes(token)).toBe(false);
      expect(whole).not.toContain(token);
      expect(whole).not.toContain(Buffer.from(token).toString('hex'));
    }
    expect(one.outbound_token.equals(other.outbound_token)).toBe(false);
  });

  test('where a CPO is called and the token that it gave us are changed one without the other', async () => {
    const { id } = await addCpo();
    const stored = async () =>
      (await service.sql.query('select base_url, outbound_token from cpos where id = $1', [id])).rows[0];
    const call = async (args: string[], input = '') =>
      document(await runWith(settings(), ['cpo', 'call', id, ...args, '--json'], input));

    expect(await call(['--base-url', 'https://old.example'])).toMatchObject({ id, base_url: 'https://old.example' });
    await call(['--outbound-token-stdin'], 'first');
    const before = await stored();
    expect(before).toMatchObject({ base_url: 'https://old.example', outbound_token: expect.any(Buffer) });

    await call(['--base-url', 'https://old.example/scsp']);
    expect(await stored()).toEqual({ ...before, base_url: 'https://old.example/scsp' });
    await call(['--outbound-token-stdin'], 'second');
    const after = await stored();
    expect(after.base_url).toBe('https://old.example/scsp');
    expect(after.outbound_token.equals(before.outbound_token)).toBe(false);
    const { rows } = await service.sql.query('select action from audit where subject_id = $1 order by id', [id]);
    expect(rows.map(({ action }) => action)).toEqual(['cpo.add', ...Array(4).fill('cpo.calling')]);
  });

  test('a token without an address, an unknown CPO and a change of nothing are refused', async () => {
    const { id } = await addCpo();
    const reasons = { [id]: `the CPO ${id} does not exist or has no base URL: give one with --base-url` };
    for (const nobody of [id, randomUUID(), 'no-such-cpo']) {
      const end = await runWith(settings(), ['cpo', 'call', nobody, '--outbound-token-stdin'], 'token');
      expect(end).toEqual(refusal(reasons[nobody] ?? `no CPO has the id or name ${nobody}`));
    }
    expect(await runWith(settings(), ['cpo', 'call', id])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("give option '--base-url <URL>', '--outbound-token-stdin', '--protocols <LIST>'"),
    });
  });

  test('what is no single token on standard input is refused, and adds no CPO', async () => {
    const name = `CPO ${randomUUID()}`;
    const args = ['cpo', 'add', name, '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
    const inputs = ['', '\n', 'two tokens', 'two\nlines', 'Bearer token', '=', 'geheimé', 'x'.repeat(4_097)];
    for (const end of await each(inputs, (input) => runWith(settings(), args, input)))
      expect(end).toEqual(refusal('standard input must contain one bearer token'));
    expect(JSON.stringify(await json('cpo', 'list'))).not.toContain(name);
  });

  test('standard input that never ends is not read to its end', async () => {
    const endless = function* () {
      for (;;) yield 'x'.repeat(1_000);
    };
    const args = ['cpo', 'add', 'CPO', '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
    const refused = await runWith(settings(), args, endless());
    expect(refused).toEqual(refusal('standard input must contain one bearer token'));
  });

  test('a token without a base URL to send it to is wrong usage', async () => {
    const end = await runWith(settings(), ['cpo', 'add', `CPO ${randomUUID()}`, '--outbound-token-stdin'], 'token');
    expect(end).toEqual(wrongUsage("needs option '--base-url <URL>'"));
  });

  test('the list shows every CPO and since when it is suspended, in columns', async () => {
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
    const columns = ['ID', 'NAME', 'BASE URL', 'PAYLOAD PROTOCOLS', 'CREATED AT', 'SUSPENDED AT', 'CIRCUIT OPEN SINCE'];
    expect(heading).toEqual([...columns, 'SELF SERVICE', 'CERTIFICATION']);
    expect(rows).toContainEqual([id, name, '-', '-', listed.created_at, listed.suspended_at, '-', '-', '-']);

    const [first = '', ...lines] = (await scsp('cpo', 'list')).stdout.trimEnd().split('\n');
    const column = first.indexOf('CREATED AT');
    for (const line of lines) expect(line.slice(column, column + 24)).toMatch(RFC_3339);
  });

  test('a suspended CPO is refused by the running service within a second, and a resumed one served', async () => {
    const { id, token } = await service.cpo();
    const pair = () => service.pair({ id, name: '', token }, '000000');
    expect((await pair()).status).toBe(404);

    const suspended = await json('cpo', 'suspend', id);
    expect(suspended).toMatchObject({ id, suspended_at: expect.stringMatching(RFC_3339) });
    expect((await untilStatus(403, pair)).status).toBe(403);
    expect(await json('cpo', 'suspend', id)).toEqual(suspended);

    expect(await json('cpo', 'resume', id)).not.toHaveProperty('suspended_at');
    expect((await untilStatus(404, pair)).status).toBe(404);
  });

  test('a person sees a suspension and its end', async () => {
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
      for (const end of refused) expect(end).toEqual(refusal(`no CPO has the id or name ${id}`));
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
    expect((await untilStatus(404, pair)).status).toBe(404);
  });

  test("an app's token works against the running service until it is revoked, within a second", async () => {
    const issued = await json('token', 'issue', '--app', `app ${randomUUID()}`);
    const ask = async () =>
      service.request('POST', '/v1/app/pairing-codes', {
        token: issued.token,
        body: { user_id: randomUUID(), charging_location_id: 'home' },
      });
    expect((await untilStatus(201, ask)).status).toBe(201);

    const revoked = await json('token', 'revoke', issued.id);
    expect(revoked).toEqual({ id: issued.id, revoked_at: expect.stringMatching(RFC_3339) });
    expect((await untilStatus(401, ask)).status).toBe(401);
    expect(await json('token', 'revoke', issued.id)).toEqual(revoked);
  });

  test('a person sees a token once, with a note that says so', async () => {
    const app = `app ${randomUUID()}`;
    const issued = await text('token', 'issue', '--app', app);
    expect(issued).toEqual([
      ['id', expect.stringMatching(UUID)],
      ['token', expect.stringMatching(/^scsp_app_[\w-]{43}$/)],
      ['expires at', expect.stringMatching(RFC_3339)],
      [''],
      ['Store the token now: it is not shown again.'],
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
    expect(heading).toEqual(['ID', 'ROLE', 'OWNER', 'CREATED AT', 'EXPIRES AT', 'REVOKED AT', 'LAST USED AT']);
    expect(rows).toContainEqual([id, 'cpo', cpo.name, listed.created_at, listed.expires_at, revokedAt, '-']);
  });

  test('there is no token for an unknown CPO, and none to revoke under an unknown id', async () => {
    for (const id of [randomUUID(), 'nobody']) {
      expect(await scsp('token', 'issue', '--cpo', id, '--json')).toEqual(
        jsonRefusal(`no CPO has the id or name ${id}`),
      );
      expect(await scsp('token', 'revoke', id, '--json')).toEqual(jsonRefusal(`no token has the id ${id}`));
    }
  });

  test('a token is for a CPO, an app or an ingest, and for one of them only', async () => {
    expect(await scsp('token', 'issue')).toEqual(wrongUsage('--ingest'));
    const owners = [
      ['--cpo', randomUUID(), '--app', 'app'],
      ['--cpo', randomUUID(), '--ingest', 'pipeline'],
      ['--app', 'app', '--ingest', 'pipeline'],
    ];
    for (const end of await each(owners, (owner) => scsp('token', 'issue', ...owner)))
      expect(end).toEqual(wrongUsage('cannot be used with'));
  });

  test('a token for an ingest is listed and rotated with its role, and revoked', async () => {
    const owner = `pipeline ${randomUUID()}`;
    const issued = await json('token', 'issue', '--ingest', owner);
    expect(issued.token).toMatch(/^scsp_ingest_[\w-]{43}$/);
    const rotated = await json('token', 'rotate', issued.id);
    expect(rotated).toMatchObject({ token: expect.stringMatching(/^scsp_ingest_[\w-]{43}$/), replaces: issued.id });
    await json('token', 'revoke', rotated.id);
    const listed = (await json('token', 'list')).filter((token: { owner: string }) => token.owner === owner);
    expect(listed).toMatchObject([
      { id: issued.id, role: 'ingest' },
      { id: rotated.id, role: 'ingest', revoked_at: expect.stringMatching(RFC_3339) },
    ]);
    expect(await scsp('token', 'revoke', issued.token)).toEqual(
      refusal('expected the id of the token, not the token itself: scsp token list shows the id'),
    );
  });
});

describe('scsp code', () => {
  test('a code that the CLI issues pairs a station over HTTP', async () => {
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
    expect((await service.pair(await service.cpo(), issued.code)).status).toBe(200);
    expect((await service.followCode(issued.id)).body).toMatchObject({ status: 'used', user_id: user });
  });

  test('its answer has the members of the HTTP answer, in the same order', async () => {
    const { id } = await service.cpo();
    const issued = await json('code', 'issue', '--user', randomUUID(), '--location', 'home', '--cpo', id);
    expect(issued.cpo_id).toBe(id);
    expect(Object.keys(issued)).toEqual(Object.keys(await service.code({ cpo_id: id })));
  });

  test('a new code cancels the old one, whether the app or an operator issued it', async () => {
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

  test('a user who has been issued ten codes in ten minutes is refused, with the time to wait', async () => {
    const user = randomUUID();
    for (let i = 0; i < 10; i++) expect((await service.code({ user_id: user })).status).toBe('active');
    const refused = await scsp('code', 'issue', '--user', user, '--location', 'home');
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/^scsp: Too many pairing codes were issued for this user, please try again in \d+ s\.\n$/),
    ]);
  });

  test('what is no id is refused, and so is an unknown CPO', async () => {
    const issue = (user: string, location: string, cpo: string = randomUUID()) =>
      scsp('code', 'issue', '--user', user, '--location', location, '--cpo', cpo);
    expect(await issue('', 'home')).toEqual(refusal('--user must have 1 to 128 printable characters'));
    expect(await issue('user', 'x'.repeat(129))).toEqual(refusal('--location must have 1 to 128 printable characters'));
    for (const cpo of [randomUUID(), 'volt'])
      expect(await issue('user', 'home', cpo)).toEqual(refusal(`no CPO has the id or name ${cpo}`));
  });

  test("without the service's SECRET_KEY no code is issued, and no key made that the service does not know", async () => {
    const issue = ['code', 'issue', '--user', 'user-1', '--location', 'home'];
    const refused = await runWith({ DATABASE_URL: service.databaseUrl, SANDBOX: 'true' }, issue);
    expect(refused).toEqual(refusal('SECRET_KEY must be set to the key of the service'));
    expect(existsSync(unused())).toBe(false);
  });
});

describe('scsp station', () => {
  test('the list shows the stations of all CPOs, the latest first, and as many as wanted', async () => {
    const uids: string[] = [];
    for (const user_id of [randomUUID(), randomUUID(), randomUUID()]) {
      const station = aStation();
      const { code } = await service.code({ user_id });
      expect((await service.pair(await service.cpo(), code, station)).status).toBe(200);
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
});

describe('scsp outbox', () => {
  let backend: SandboxCpo | undefined;
  afterAll(() => backend?.stop());

  /** A CPO that cannot be reached, and a station of its that its customer has unpaired. */
  async function untold(uid: string, outboundToken: string) {
    const name = `CPO ${randomUUID()}`;
    const add = ['cpo', 'add', name, '--base-url', CLOSED, '--outbound-token-stdin', '--json'];
    const { id } = document(await runWith(settings(), add, outboundToken));
    const { token } = await json('token', 'issue', '--cpo', id);
    const { code } = await service.code();
    expect((await service.pair({ id, name, token }, code, aStation(uid))).status).toBe(200);
    const unpaired = await service.request('POST', `/v1/app/charging-stations/${uid}/unpair`, {
      token: service.appToken,
    });
    expect(unpaired.status).toBe(200);
    const { pairing_id } = await service.log.waitFor(
      ({ message, cpo_id }) => message === 'CPO not notified of an unpairing yet' && cpo_id === id,
    );
    const waiting = await json('outbox', 'list');
    const entry = waiting.find((one: { pairing_id: string }) => one.pairing_id === pairing_id);
    return { id: String(entry.id), pairing_id, cpo: { id, name } };
  }

  const find = async (id: string) => (await json('outbox', 'list')).find((entry: { id: string }) => entry.id === id);

  test('the list shows each pending notification, its attempts, the next one, and why the last failed', async () => {
    const uid = `station-${randomUUID()}`;
    const { id, pairing_id, cpo } = await untold(uid, 'token');
    const listed = await find(id);
    expect(listed).toEqual({
      id,
      pairing_id,
      request_id: expect.stringMatching(/^[\w-]{36}$/),
      cpo_id: cpo.id,
      cpo: cpo.name,
      uid,
      created_at: expect.stringMatching(RFC_3339),
      attempts: expect.any(Number),
      next_attempt_at: expect.stringMatching(RFC_3339),
      last_error: 'The CPO could not be reached: the connection was refused.',
    });
    expect(listed.attempts).toBeGreaterThan(0);

    const [heading, ...rows] = await text('outbox', 'list');
    expect(heading).toEqual([
      'ID',
      'CPO',
      'UID',
      'CREATED AT',
      'ATTEMPTS',
      'NEXT ATTEMPT AT',
      'GAVE UP AT',
      'LAST ERROR',
    ]);
    const timed = [expect.stringMatching(/^\d+$/), expect.stringMatching(RFC_3339), '-'];
    expect(rows).toContainEqual([
      id,
      cpo.name,
      uid,
      listed.created_at,
      ...timed,
      'The CPO could not be reached: the connection was refused.',
    ]);
  });

  test('a dead-lettered notification is sent at once when it is retried, and leaves the list', async () => {
    const token = `token-${randomUUID()}`;
    const { id, pairing_id, cpo } = await untold('SANDBOX-200000', token);
    await service.sql.query('update outbox set gave_up_at = now() where id = $1', [id]);
    const givenUp = await find(id);
    expect(givenUp).toMatchObject({ gave_up_at: expect.stringMatching(RFC_3339) });
    expect(givenUp).not.toHaveProperty('next_attempt_at');

    const quiet = new Writable({ write: (_chunk, _encoding, done) => done() });
    backend = await startSandboxCpo(0, token, createLog('error', quiet));
    await service.sql.query('update cpos set base_url = $2 where id = $1', [cpo.id, backend.url]);
    expect(await text('outbox', 'retry', id)).toEqual([['id', id]]);
    await service.log.waitFor(
      (line) => line.message === 'CPO notified of an unpairing' && line.pairing_id === pairing_id,
    );
    expect(backend.calls).toMatchObject([{ uid: 'SANDBOX-200000', status: 200 }]);
    expect(await find(id)).toBeUndefined();
    expect(await scsp('outbox', 'retry', id)).toEqual(refusal(`no notification in the outbox has the id ${id}`));
  });

  test('a retry begins anew to count attempts', async () => {
    const { id } = await untold(`station-${randomUUID()}`, 'token');
    await service.sql.query('update outbox set gave_up_at = now(), attempts = 99 where id = $1', [id]);
    expect(await json('outbox', 'retry', id)).toEqual({ id });
    const retried = await find(id);
    expect(retried.attempts).toBeLessThan(99);
    expect(retried).not.toHaveProperty('gave_up_at');
  });

  test('what is dropped leaves the list and the database, and the audit log says who did it', async () => {
    const { id, cpo } = await untold(`station-${randomUUID()}`, 'token');
    expect(await json('outbox', 'drop', id)).toEqual({ id });
    expect(await find(id)).toBeUndefined();
    expect((await service.sql.query('select from outbox where id = $1', [id])).rowCount).toBe(0);
    const [last] = await json('audit', 'list');
    expect(last).toMatchObject({ action: 'outbox.drop', subject_id: id, detail: { cpo_id: cpo.id } });
  });

  test('a notification whose uid was erased cannot be retried, only dropped', async () => {
    const { id } = await untold(`station-${randomUUID()}`, 'token');
    await service.sql.query('update outbox set gave_up_at = now(), uid = null where id = $1', [id]);
    expect(await find(id)).not.toHaveProperty('uid');
    expect(await scsp('outbox', 'retry', id)).toEqual(
      refusal(`the uid of ${id} was erased, so that its CPO cannot be notified: run scsp outbox drop ${id}`),
    );
    expect(await json('outbox', 'drop', id)).toEqual({ id });
  });

  test.each(['retry', 'drop'])('what does not wait cannot be taken: %s', async (verb) => {
    for (const id of [randomUUID(), 'no-such-entry'])
      expect(await scsp('outbox', verb, id)).toEqual(refusal(`no notification in the outbox has the id ${id}`));
  });
});

describe('scsp sandbox-cpo', () => {
  test('a port that is none is wrong usage, and what is no token is refused', async () => {
    for (const end of await each(['x', '-1', '65536'], (port) => scsp('sandbox-cpo', '--port', port)))
      expect(end).toEqual(wrongUsage('a whole number from 0 to 65535'));
    const refused = await runWith(settings(), ['sandbox-cpo', '--token-stdin'], 'two tokens');
    expect(refused).toEqual(refusal('standard input must contain one bearer token'));
  });
});

describe('scsp migrate', () => {
  test('an empty database is asked to be migrated, and then serves', async () => {
    const database = await createTestDatabase();
    await query(database.url, 'drop schema public cascade; create schema public');
    const empty = { DATABASE_URL: database.url };
    const before = await runWith(empty, ['cpo', 'list', '--json']);
    expect(before).toEqual(jsonRefusal('the database has not been migrated to this version: run scsp migrate'));
    const { migrated } = document(await runWith(empty, ['migrate', '--json']));
    expect(migrated).toBeGreaterThan(0);
    expect(document(await runWith(empty, ['cpo', 'list', '--json']))).toEqual([]);
    expect(document(await runWith(empty, ['migrate', '--json']))).toEqual({ migrated: 0 });

    await query(database.url, 'delete from migrations where id = (select max(id) from migrations)');
    const behind = await runWith(empty, ['token', 'list']);
    expect(behind).toEqual(refusal('the database has not been migrated to this version: run scsp migrate'));
    await database.drop();
  });

  test('a person sees how many migrations ran', async () => {
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
      ['outbox'],
      ['outbox', 'retry'],
      ['outbox', 'list', 'all'],
      ['sandbox-cpo', '3001'],
      ['station', 'list', '--limit'],
    ];
    for (const end of await each(lines, (args) => scsp(...args)))
      expect(end).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(/./) });
    const limits = ['0', '-1', 'many', '1.5', '1000001'];
    for (const end of await each(limits, (limit) => scsp('station', 'list', '--limit', limit)))
      expect(end).toEqual(wrongUsage('a whole number from 1 to 1000000'));
  });

  test('every command helps, even without a database, and every verb with examples', async () => {
    const help = (args: string[]) => runWith({ DATABASE_URL: 'postgres://127.0.0.1:1/none' }, args);
    const nouns = ['cpo', 'token', 'code', 'station', 'outbox'];
    for (const end of await each([...nouns.map((noun) => [noun, '--help']), ['help', 'cpo']], help))
      expect(end).toEqual({ code: 0, stderr: '', stdout: expect.stringMatching(/^Usage: scsp \w+ /) });
    const verbs = [
      'migrate',
      'cpo add',
      'cpo call',
      'cpo list',
      'cpo suspend',
      'cpo resume',
      'cpo reseal',
      're-encrypt',
      'reseal',
      'token issue',
      'token list',
      'token revoke',
      'code issue',
      'station list',
      'station unpair',
      'outbox list',
      'outbox retry',
      'outbox drop',
      'sandbox-cpo',
    ].map((verb) => [...verb.split(' '), '--help']);
    for (const end of await each([['--help'], ['help'], ...verbs], help))
      expect(end).toEqual({
        code: 0,
        stderr: '',
        stdout: expect.stringMatching(/^Usage: scsp .*\nExamples:\n {2}\$ (echo "\$TOKEN" \| )?scsp /s),
      });
  });

  test('all invalid settings are reported in one line, without their values', async () => {
    const invalidAnswer = { PORT: 'x', CODE_LENGTH: '99', DATABASE_URL: 'mysql://scsp:open-sesame@localhost/scsp' };
    for (const args of [['cpo', 'list', '--json'], ['sandbox-cpo']]) {
      const refused = await runWith(invalidAnswer, args);
      expect(refused).toEqual({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(
          /^(scsp: |{"message":")invalid settings: CODE_LENGTH .*; DATABASE_URL .*; PORT .*\n$/,
        ),
      });
      expect(refused.stderr).not.toContain('open-sesame');
    }
  });

  test('a defect is printed with its stack, a RangeError too', async () => {
    const defective = function* (): Generator<string> {
      yield 'half a ';
      throw new RangeError('Invalid array length');
    };
    const { code, stdout, stderr } = await runWith(settings(), ['sandbox-cpo', '--token-stdin'], defective());
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^scsp: RangeError: Invalid array length\n +at .*cli\.test\.ts/);
  });

  test('a database that does not exist or refuses the password is reported, without the password', async () => {
    const wrong = (part: 'pathname' | 'password') => {
      const url = new URL(service.databaseUrl);
      url[part] = 'open-sesame';
      return { DATABASE_URL: url.href };
    };
    const { host } = new URL(service.databaseUrl);
    for (const args of [['cpo', 'list'], ['migrate']]) {
      const missing = await runWith(wrong('pathname'), args);
      expect(missing).toEqual(
        refusal(
          `the database of DATABASE_URL (${host}/open-sesame) refuses the connection: database "open-sesame" does not exist`,
        ),
      );
      const { stdout, stderr } = await runWith(wrong('password'), args);
      expect(stdout + stderr).not.toContain('open-sesame');
    }
  });

  test('a database that refuses a table is reported, too', async () => {
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

async function query(url: string, sql: string): Promise<void> {
  const client = new Client(url);
  await client.connect();
  await client.query(sql).finally(() => client.end());
}
