import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { command, commandsOf, document, jsonRefusal, refusal, wrongUsage } from '../harness/a-command';
import { createTestDatabase, type Harness, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { addCpo, each, json, scsp, text, withInput } = commandsOf(() => service);

describe('scsp sandbox-cpo', () => {
  test('a port that is none is wrong usage, and what is no token is refused', async () => {
    for (const end of await each(['x', '-1', '65536'], (port) => scsp('sandbox-cpo', '--port', port)))
      expect(end).toEqual(wrongUsage('a whole number from 0 to 65535'));
    const refused = await withInput(['sandbox-cpo', '--token-stdin'], 'two tokens');
    expect(refused).toEqual(refusal('standard input must contain one bearer token'));
  });
});

describe('scsp migrate', () => {
  test('an empty database is asked to be migrated, and then serves', async () => {
    const database = await createTestDatabase();
    await query(database.url, 'drop schema public cascade; create schema public');
    const empty = { DATABASE_URL: database.url };
    const before = await command(empty, ['cpo', 'list', '--json']);
    expect(before).toEqual(jsonRefusal('the database has not been migrated to this version: run scsp migrate'));
    const { migrated } = document(await command(empty, ['migrate', '--json']));
    expect(migrated).toBeGreaterThan(0);
    expect(document(await command(empty, ['cpo', 'list', '--json']))).toEqual([]);
    expect(document(await command(empty, ['migrate', '--json']))).toEqual({ migrated: 0 });

    await query(database.url, 'delete from migrations where id = (select max(id) from migrations)');
    const behind = await command(empty, ['token', 'list']);
    expect(behind).toEqual(refusal('the database has not been migrated to this version: run scsp migrate'));
    await database.drop();
  });

  test('a person sees how many migrations ran', async () => {
    expect(await text('migrate')).toEqual([['migrated', '0']]);
  });
});

test('scsp re-encrypt has the aliases scsp reseal and scsp cpo reseal', async () => {
  for (const args of [['re-encrypt'], ['reseal'], ['cpo', 'reseal']])
    expect(await json(...args)).toEqual({ resealed: 0 });
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
    for (const noun of ['station', 'audit', 'attempts'])
      for (const end of await each(limits, (limit) => scsp(noun, 'list', '--limit', limit)))
        expect(end).toEqual(wrongUsage('a whole number from 1 to 1000000'));
  });

  test('every command helps, even without a database, and every verb with examples', async () => {
    const help = (args: string[]) => command({ DATABASE_URL: 'postgres://127.0.0.1:1/none' }, args);
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
      'token rotate',
      'audit list',
      'attempts list',
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
      const refused = await command(invalidAnswer, args);
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
    const { code, stdout, stderr } = await withInput(['sandbox-cpo', '--token-stdin'], defective());
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^scsp: RangeError: Invalid array length\n +at .*command-line\.test\.ts/);
  });

  test('a database that does not exist or refuses the password is reported, without the password', async () => {
    const wrong = (part: 'pathname' | 'password') => {
      const url = new URL(service.databaseUrl);
      url[part] = 'open-sesame';
      return { DATABASE_URL: url.href };
    };
    const { host } = new URL(service.databaseUrl);
    for (const args of [['cpo', 'list'], ['migrate']]) {
      const missing = await command(wrong('pathname'), args);
      expect(missing).toEqual(
        refusal(
          `the database of DATABASE_URL (${host}/open-sesame) refuses the connection: database "open-sesame" does not exist`,
        ),
      );
      const { stdout, stderr } = await command(wrong('password'), args);
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
