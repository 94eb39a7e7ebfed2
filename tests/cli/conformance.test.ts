import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli';
import { cpoChecks } from '../../src/conformance/cpo/checks';
import type { SandboxCpo } from '../../src/sandbox/cpo';
import { sandboxCodes } from '../../src/sandbox/scenarios';
import { command } from '../harness/a-command';
import { quietSandboxCpo, TOKEN } from '../harness/a-sandbox-cpo';
import { endLater } from '../harness/clean-up';

let good: SandboxCpo;
let bad: SandboxCpo;
let folder: string;
let codes: string;
beforeAll(async () => {
  [good, bad] = await Promise.all([quietSandboxCpo(), quietSandboxCpo({ mutant: 'auth-no-token-echo' })]);
  endLater(good.stop);
  endLater(bad.stop);
  folder = mkdtempSync(join(tmpdir(), 'scsp-conformance-'));
  endLater(() => rmSync(folder, { recursive: true }));
  codes = join(folder, 'codes.json');
  writeFileSync(codes, JSON.stringify(sandboxCodes));
});

const conformance = (...args: string[]) => command({}, ['conformance', 'cpo', ...args], [`${TOKEN}\n`]);
const check = (target: string, ...args: string[]) => conformance('--target', target, '--token-stdin', ...args);

test('a CPO that passes ends the command with 0', async () => {
  const { code, stdout, stderr } = await check(good.url, '--codes', codes, '--protocols', 'ocpi2.2.1');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^43 passed, 0 failed, 0 warnings, 8 not run, in /m);
  expect(stdout).not.toContain('\u001b');
});

test('a CPO that fails ends the command with 1, and the failure can be pasted into a ticket', async () => {
  const { code, stdout, stderr } = await check(bad.url, '--only', 'auth-no-token-echo');
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  expect(stdout).toMatch(
    new RegExp(
      [
        'FAIL {2}auth-no-token-echo: No response repeats the token',
        ' +what +the response contains the token',
        ` +sent +curl -i -X POST '${bad.url}/v1/cpo/ocpp1\\.6/pair' -H 'authorization: Bearer '"\\$MY_TOKEN" -H 'content-type: application/json' -d '{"code":"\\d+"}'`,
        ' +came +HTTP 404 after \\d+ ms',
        ' +content-type: application/json',
        '',
        ' +{"message":"Incorrect Code, please check the code and try again. Token: <token>"}',
        ' +contract +A token is in no response and no log\\.',
        ' +where +openapi\\.yaml, cpoPairOcpp',
        ' +remedy +Remove what was sent',
      ].join('\n'),
    ),
  );
});

test('a target that cannot be connected ends the command with 3', async () => {
  const gone = await quietSandboxCpo();
  await gone.stop();
  const { code, stdout, stderr } = await check(gone.url, '--only', 'pair-uid', '--json');
  expect({ code, stderr }).toEqual({ code: 3, stderr: '{"message":"the target is unreachable"}\n' });
  expect(JSON.parse(stdout).checks).toMatchObject([
    {
      id: 'transport-connect',
      verdict: 'failed',
      evidence: { note: 'no connection: ECONNREFUSED' },
      remedy: expect.stringMatching(/^Start your backend, or correct the port/),
    },
    { id: 'pair-uid', verdict: 'not_run', needs: 'transport-connect to pass' },
  ]);
});

test('a run without codes ends with 0, and says last what was not run', async () => {
  const { code, stdout } = await check(good.url, '--protocols', 'ocpi2.2.1');
  expect(code).toBe(0);
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(
    /^\d+ checks were not run: they need .*`good`: a code for each protocol/,
  );
});

test('wrong usage ends the command with 2 before anything is sent', async () => {
  const before = good.calls.length;
  const noCodes = join(folder, 'none.json');
  const wrongCodes = join(folder, 'wrong.json');
  writeFileSync(wrongCodes, '{"goods": []}');
  for (const [args, message] of [
    [[], "required option '--target <URL>'"],
    [['--target', good.url], "required option '--token-stdin'"],
    [['--target', 'nonsense', '--token-stdin'], 'the target must be a URL'],
    [['--target', 'https://user:secret@cpo.example', '--token-stdin'], 'the target must have no user'],
    [['--target', good.url, '--token-stdin', '--codes', noCodes], 'cannot be read'],
    [['--target', good.url, '--token-stdin', '--codes', wrongCodes], 'unknown member'],
    [['--target', good.url, '--token-stdin', '--only', 'nothing'], 'there is no check or area "nothing"'],
    [['--target', good.url, '--token-stdin', '--protocols', 'ocpp9'], 'Unsupported payload protocol'],
    [['--target', good.url, '--token-stdin', '--report', 'html'], '--report must be one of text, json, junit'],
  ] as const) {
    const end = await conformance(...args);
    expect(end).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining(message) });
    expect(end.stderr).not.toContain('secret');
  }
  expect(good.calls.length).toBe(before);
});

test('the list has every check with level and needs, and needs no target', async () => {
  const { code, stdout } = await conformance('--list');
  expect(code).toBe(0);
  expect(stdout.split('\n')[0]).toMatch(/^ID +LEVEL +CHANGES +NEEDS +TITLE$/);
  for (const { id, level, title } of cpoChecks)
    expect(stdout).toMatch(
      new RegExp(`^${id.replaceAll('.', '\\.')} +${level} .*${title.slice(-12).replace(/[^\w ]/g, '.')}$`, 'm'),
    );
  const list = JSON.parse((await conformance('--list', '--json')).stdout);
  expect(list).toHaveLength(cpoChecks.length);
  expect(list[0]).toEqual(expect.objectContaining({ id: 'transport-https', level: 'required', changes: 'no' }));
});

test('--report json and --json print the same members', async () => {
  const [one, other] = [
    await check(good.url, '--only', 'pair-empty-body', '--report', 'json'),
    await check(good.url, '--only', 'pair-empty-body', '--json'),
  ].map(({ stdout }) => JSON.parse(stdout));
  expect(Object.keys(one)).toEqual(Object.keys(other));
  expect(one.checks).toEqual(other.checks);
});

test('an area is a name of checks, too', async () => {
  const { stdout } = await check(good.url, '--only', 'auth,pair-uid', '--codes', codes, '--json');
  const wanted = cpoChecks.filter(({ id }) => id.startsWith('auth-') || id === 'pair-uid').map(({ id }) => id);
  expect(JSON.parse(stdout).checks.map(({ id }: { id: string }) => id)).toEqual(wanted);
});

test('a terminal gets colours and a progress line that is cleared', async () => {
  const said = { stdout: '', stderr: '' };
  const into = (name: keyof typeof said) =>
    Object.assign(
      new Writable({
        write(chunk, _encoding, done) {
          said[name] += chunk;
          done();
        },
      }),
      { isTTY: true },
    );
  const shell = {
    env: {},
    stdin: Readable.from([TOKEN]),
    stdout: into('stdout'),
    stderr: into('stderr'),
    stopSignal: () => new AbortController().signal,
  };
  const args = ['conformance', 'cpo', '--target', good.url, '--token-stdin', '--only', 'pair-empty-body'];
  expect(await run(args, shell)).toBe(0);
  expect(said.stdout).toContain('\u001b[32mpass\u001b[0m  pair-empty-body');
  expect(said.stderr).toBe('\r\u001b[2K1/1  pair-empty-body\r\u001b[2K');
});
