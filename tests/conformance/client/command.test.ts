import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { clientChecks } from '../../../src/conformance/client/judge';
import { steps } from '../../../src/conformance/client/steps';
import { projectFile } from '../../../src/contract/document';
import { command } from '../../harness/a-command';
import { runProgram } from '../../harness/a-program';
import { startKit } from './a-kit';
import { CALLER } from './sample-caller';

/** A run that takes seconds instead of a minute. */
const FAST = ['--time-scale', '0.3'];

/** Does all steps at once with a caller that is a program, as a developer would in a shell. */
async function doAllSteps(kit: { url: string; token: string }, program: string, file: string): Promise<void> {
  const env = { SCSP_URL: kit.url, SCSP_TOKEN: kit.token };
  const call = (...args: string[]) => runProgram(program, [file, ...args], env);
  await Promise.all(
    steps.map(async ({ uid, code, unpair }) => {
      const paired = code === undefined || (await call('pair', code, uid)).stdout === 'paired\n';
      if (unpair && paired) await call('unpair', uid);
    }),
  );
}

const folder = mkdtempSync(join(tmpdir(), 'scsp-caller-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Compiles the sample caller as strictly as can be, to a module that Node runs alone. */
function compileCaller(): string {
  const options: ts.CompilerOptions = {
    strict: true,
    skipLibCheck: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noUnusedLocals: true,
    erasableSyntaxOnly: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ES2022,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    types: ['node'],
    typeRoots: [projectFile('node_modules/@types')],
  };
  const program = ts.createProgram([CALLER], options);
  const errors = ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  expect(errors).toEqual([]);
  const file = join(folder, 'caller.mjs');
  program.emit(undefined, (_name, text) => writeFileSync(file, text));
  return file;
}

const python = spawnSync('python3', ['--version']).status === 0 ? 'python3' : undefined;
if (python === undefined) console.warn('There is no python3: docs/examples/caller.py is not tried.');

test.each([
  ['docs/examples/caller.ts', process.execPath, compileCaller],
  ...(python ? ([['docs/examples/caller.py', python, () => projectFile('docs/examples/caller.py')]] as const) : []),
] as const)('%s passes all checks', async (_name, program, file) => {
  const source = file();
  const kit = await startKit(...FAST, '--report', 'json');
  await doAllSteps(kit, program, source);
  const code = await kit.ended;
  const report = JSON.parse(kit.said.stdout);
  expect(report.checks.filter(({ verdict }: { verdict: string }) => verdict !== 'passed')).toEqual([]);
  expect(code).toBe(0);
  expect(report).toEqual({
    kit_version: expect.stringMatching(/^\d/),
    contract_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    target: kit.url,
    started_at: expect.any(String),
    finished_at: expect.any(String),
    counts: { passed: clientChecks.length, failed: 0, warning: 0, not_run: 0 },
    checks: expect.any(Array),
  });
});

if (python !== undefined)
  test('docs/examples/caller.py takes a 404 of a wrong address for an error', async () => {
    const kit = await startKit();
    const env = { SCSP_URL: `${kit.url}/wrong`, SCSP_TOKEN: kit.token };
    for (const args of [
      ['pair', '000404', 'KIT-2'],
      ['unpair', 'KIT-13'],
    ]) {
      const { code, stdout, stderr } = await runProgram(python, [projectFile('docs/examples/caller.py'), ...args], env);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toContain('404 /problems/not-found');
    }
  });

test.each(['ts', 'py'])('docs/cpo-guide.md shows docs/examples/caller.%s as it is', (extension) => {
  const guide = readFileSync(projectFile('docs/cpo-guide.md'), 'utf8');
  const source = readFileSync(projectFile(`docs/examples/caller.${extension}`), 'utf8');
  expect(guide).toContain(`\`\`\`${extension === 'ts' ? 'ts' : 'python'}\n${source}\`\`\``);
});

const post = (url: string, path: string, token?: string, body?: object) =>
  fetch(url + path, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
const station = (uid: string) => ({
  uid,
  evses: [{ evse_id: 1, connectors: [{ id: '1', power_type: 'DC', max_voltage: 400, max_amperage: 100 }] }],
});
const PAIR = '/v1/scsp/ocpp2.0.1/pair';

describe('scsp conformance client', () => {
  test('says what to do, what has come, and what is left, step by step', async () => {
    const kit = await startKit();
    for (const { code, uid } of steps) for (const text of [code ?? '', uid]) expect(kit.said.stdout).toContain(text);
    await post(kit.url, PAIR, kit.token, { code: '012345', charging_station: station('KIT-1') });
    await kit.saying(/pair KIT-1 012345 \(ocpp2\.0\.1\) {2}→ {2}200\n/);
    await kit.saying(/passed {3}client-code-as-string .*left, next: pair KIT-2 with the code 000404/);
    expect(await kit.end()).toBe(0);
    expect(kit.said.stdout).toMatch(
      /\nskip {2}1 check: client-404-final\. Needs a pair request with the code 000404\n/,
    );
    expect(kit.said.stderr).toBe('');
  });

  test('ends with 1 if a check failed, with the evidence and the remedy, and without the token', async () => {
    const kit = await startKit('--report', 'json');
    await post(kit.url, `${PAIR}?access_token=${kit.token}`, kit.token, {
      code: 12345,
      charging_station: station('KIT-1'),
    });
    await kit.saying(/failed {3}client-code-as-string/);
    expect(await kit.end()).toBe(1);
    const checks = new Map(JSON.parse(kit.said.stdout).checks.map((check: any) => [check.id, check]));
    expect(checks.get('client-token-in-header-only')).toEqual({
      id: 'client-token-in-header-only',
      title: 'The token is in the Authorization header and nowhere else',
      level: 'required',
      clause: 'The token is read from the header Authorization only.',
      verdict: 'failed',
      evidence: {
        request: 'pair KIT-1 012345 (ocpp2.0.1)',
        response: '200',
        note: expect.stringMatching(/^request kit-1 at .*: the token was in the address, too$/),
      },
      remedy: expect.stringContaining('Authorization: Bearer'),
    });
    expect(kit.said.stdout).not.toContain(kit.token);
  });

  test('says that a token is another one, and judges nothing else by such a request', async () => {
    const kit = await startKit('--report', 'json');
    await post(kit.url, '/v1/scsp/chargingstations/a%252Fb/unpair', 'scsp_cpo_of-another');
    await kit.saying(
      /failed {3}client-token-in-header-only .*the token in the header was not the one that the kit has printed/,
    );
    expect(await kit.end()).toBe(1);
    const { counts } = JSON.parse(kit.said.stdout);
    expect(counts).toEqual({ passed: 0, failed: 1, warning: 0, not_run: clientChecks.length - 1 });
  });

  test('ends with 3 if nobody called, also if somebody only looked', async () => {
    const kit = await startKit();
    expect((await fetch(kit.url)).status).toBe(401);
    expect(await kit.end()).toBe(3);
  });

  test('ends at --timeout', async () => expect(await (await startKit('--timeout', '1')).ended).toBe(3));

  test('writes JUnit alone to standard output', async () => {
    const kit = await startKit('--report', 'junit');
    await kit.end();
    expect(kit.said.stdout).toMatch(/^<\?xml .*<testsuites .* tests="\d+" failures="0".*<\/testsuites>\n$/s);
  });

  test.each([
    [['--report', 'html']],
    [['--timeout', '0']],
    [['--port', '65536']],
    [['--host', '192.0.2.1']],
    [['unexpected']],
  ])('refuses %j with 2', async (args) => {
    const { code, stdout, stderr } = await command({}, ['conformance', 'client', '--timeout', '1', ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: /);
  });

  test('--list lists all checks with level and needs', async () => {
    const { code, stdout } = await command({}, ['conformance', 'client', '--list', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(
      clientChecks.map(({ id, level, title, needs }) => ({ id, level, title, needs })),
    );
  });
});

/** The table of docs/conformance-client.md. */
const table = clientChecks.map(({ id, level, title, needs }) => `| \`${id}\` | ${level} | ${title} | ${needs} |`);
test('docs/conformance-client.md lists every check, and every code with what it does', () => {
  const page = readFileSync(projectFile('docs/conformance-client.md'), 'utf8');
  expect(page.split('\n').filter((line) => line.startsWith('| `client-'))).toEqual(table);
  for (const { code, uid, about } of steps) if (code) expect(page).toContain(`| \`${code}\` | \`${uid}\` | ${about} |`);
});
