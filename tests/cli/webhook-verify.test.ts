import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { random } from '../../src/crypto/random';
import { newWebhookSecret, signedHeaders } from '../../src/webhooks/signature';
import { command } from '../harness/a-command';

// What is said about each mistake is in tests/webhooks/verify.test.ts.

const secret = newWebhookSecret(random);
const ID = '019370a4-8c3e-7f74-9b1c-5d6e7f8a9b01';
const BODY = JSON.stringify({ id: ID, type: 'pairing.erased', data: {} });

let home: string;
let headers: Record<string, string>;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'scsp-verify-'));
});
beforeEach(() => {
  headers = { ...signedHeaders([secret], ID, Date.now(), BODY) };
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(home, name);
  writeFileSync(path, text);
  return path;
}

const lines = () =>
  Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');

/** Settings that the service would refuse: this command needs none. */
const settings = { PORT: 'none', NODE_ENV: 'production' };
const verify = (body: string, head: string, given = `${secret}\n`, ...more: string[]) =>
  command(
    settings,
    ['webhook', 'verify', '--secret-stdin', '--body', file('body', body), '--headers', file('headers', head), ...more],
    [given],
  );

test('a webhook whose signature is valid ends it with 0, for a person and for a program', async () => {
  expect(await verify(BODY, lines())).toEqual({ code: 0, stdout: `the webhook ${ID} is valid\n`, stderr: '' });
  const { code, stdout } = await verify(BODY, lines(), secret, '--json');
  expect([code, JSON.parse(stdout)]).toEqual([0, { valid: true, webhook_id: ID, age_seconds: expect.any(Number) }]);
});

test('headers are lines, with or without the request line, or a JSON object; their names in any case', async () => {
  const request = `POST /hook HTTP/1.1\r\nHost: localhost:8080\r\n${lines().replaceAll('\n', '\r\n')}\r\n`;
  for (const head of [request, lines().toUpperCase().slice(0, 11) + lines().slice(11), JSON.stringify(headers)])
    expect(await verify(BODY, head)).toMatchObject({ code: 0, stderr: '' });
});

test('a webhook that is not valid ends it with 1, and the mistakes are on standard error, without the secret', async () => {
  const wrong = newWebhookSecret(random);
  const ended = await verify(BODY, lines(), wrong);
  expect(ended).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^scsp: the webhook is not valid: the signature does not match\. Either the secret/),
  });
  const json = await verify(`${BODY}\n`, lines(), secret, '--json');
  expect([json.code, json.stdout, JSON.parse(json.stderr)]).toEqual([
    1,
    '',
    { message: expect.stringContaining('the body has a line break at its end that was not sent') },
  ]);
  expect(ended.stderr + json.stderr).not.toMatch(/whsec_[\w+/]/);
});

test('an option or a file that is missing, and headers that are none, are wrong usage', async () => {
  const body = file('body', BODY);
  const absent = join(home, 'absent');
  const none = file('none', 'no header');
  const good = file('headers', lines());
  for (const [args, words] of [
    [['--body', body, '--headers', good], '--secret-stdin'],
    [['--secret-stdin', '--headers', good], '--body <FILE>'],
    [['--secret-stdin', '--body', body], '--headers <FILE>'],
    [['--secret-stdin', '--body', absent, '--headers', good], "'--body <FILE>' cannot be read: ENOENT"],
    [['--secret-stdin', '--body', body, '--headers', absent], "'--headers <FILE>' cannot be read: ENOENT"],
    [['--secret-stdin', '--body', body, '--headers', none], 'must contain lines'],
  ] as const)
    expect(await command(settings, ['webhook', 'verify', ...args], [secret])).toEqual({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(words),
    });
});

test('nothing on standard input is refused', async () =>
  expect(await verify(BODY, lines(), '\n')).toEqual({
    code: 1,
    stdout: '',
    stderr: 'scsp: standard input must contain the secret of a webhook endpoint (whsec_…)\n',
  }));
