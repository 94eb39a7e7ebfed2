import { randomUUID } from 'node:crypto';
import { command, commandsOf, document, jsonRefusal, RFC_3339, refusal, UUID, wrongUsage } from '../harness/a-command';
import { createTestDatabase, type Harness, startHarness } from '../harness/harness';
import { untilStatus } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { addCpo, each, json, scsp, text, withInput } = commandsOf(() => service);

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
      command({ DATABASE_URL, SECRET_KEY: 'unused' }, ['cpo', 'add', 'CPO', '--base-url', url]),
    );
    expect(refused).toEqual(Object.values(reasons).map((reason) => refusal(`the base URL ${reason}`)));
    await production.drop();
  });

  test('the sandbox takes a base URL with http on a loopback address', async () => {
    const name = `CPO ${randomUUID()}`;
    const added = await scsp(...['cpo', 'add', name, '--base-url', 'http://localhost:4000', '--json']);
    expect(document(added)).toMatchObject({ base_url: 'http://localhost:4000' });
  });

  test('the token that a CPO gave us is read from standard input and stored encrypted, each time differently', async () => {
    const token = `given.${randomUUID()}~+/==`;
    const add = async () => {
      const args = ['cpo', 'add', `CPO ${randomUUID()}`, '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
      const added = document(await withInput([...args, '--json'], ` ${token}\n`));
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
      document(await withInput(['cpo', 'call', id, ...args, '--json'], input));

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
      const end = await withInput(['cpo', 'call', nobody, '--outbound-token-stdin'], 'token');
      expect(end).toEqual(refusal(reasons[nobody] ?? `no CPO has the id or name ${nobody}`));
    }
    expect(await scsp(...['cpo', 'call', id])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("give option '--base-url <URL>', '--outbound-token-stdin', '--protocols <LIST>'"),
    });
  });

  test('what is no single token on standard input is refused, and adds no CPO', async () => {
    const name = `CPO ${randomUUID()}`;
    const args = ['cpo', 'add', name, '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
    const inputs = ['', '\n', 'two tokens', 'two\nlines', 'Bearer token', '=', 'geheimé', 'x'.repeat(4_097)];
    for (const end of await each(inputs, (input) => withInput(args, input)))
      expect(end).toEqual(refusal('standard input must contain one bearer token'));
    expect(JSON.stringify(await json('cpo', 'list'))).not.toContain(name);
  });

  test('standard input that never ends is not read to its end', async () => {
    const endless = function* () {
      for (;;) yield 'x'.repeat(1_000);
    };
    const args = ['cpo', 'add', 'CPO', '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
    const refused = await withInput(args, endless());
    expect(refused).toEqual(refusal('standard input must contain one bearer token'));
  });

  test('a token without a base URL to send it to is wrong usage', async () => {
    const end = await withInput(['cpo', 'add', `CPO ${randomUUID()}`, '--outbound-token-stdin'], 'token');
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
