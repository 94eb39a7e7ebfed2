import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { projectFile } from '../../src/contract/document';
import { scenarios } from '../../src/sandbox/scenarios';

const read = (file: string) => readFileSync(projectFile(file), 'utf8');

const readme = read('README.md');
const sandbox = read('docs/sandbox.md');
const operations = read('docs/operations.md');

/** Every page that a reader may be led to. */
const pages = [
  ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'deploy/kubernetes/README.md'],
  ...readdirSync(projectFile('docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

/** The text of a page without its code blocks. */
const prose = (page: string) => read(page).replace(/^ *```[\s\S]*?^ *```/gm, '');

/** The blocks of shell commands of a page. */
const scripts = (text: string) => [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, script = '']) => script);

describe('the commands work as pasted', () => {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-readme-'));
  let service: ChildProcess;
  let url = '';
  let backend = '';

  beforeAll(async () => {
    service = spawn(process.execPath, [projectFile('dist/src/main.js')], {
      env: { PATH: process.env.PATH ?? '', PORT: '0', DATA_DIR: join(folder, '.data') },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let startText = '';
    await new Promise<void>((started, failed) => {
      service.once('close', () => failed(new Error('the service ended before it was ready')));
      service.stdout?.on('data', (chunk) => {
        startText += chunk;
        if (startText.includes('Stop: Ctrl-C')) started();
      });
    });
    url = JSON.parse(readFileSync(join(folder, '.data/sandbox.json'), 'utf8')).url;
    backend = /Backend of the CPO: (\S+)/.exec(startText)?.[1] ?? '';
  });

  afterAll(async () => {
    service.kill('SIGTERM');
    await once(service, 'close');
    rmSync(folder, { recursive: true, force: true });
  });

  /** Runs a script as somebody who pastes it would, and returns what it prints. */
  async function run(script: string): Promise<string> {
    const adapted = script.replaceAll('http://localhost:3000', url).replaceAll('http://localhost:3001', backend);
    const shell = spawn('sh', ['-c', adapted], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    shell.stdout.on('data', (chunk) => {
      output += chunk;
    });
    await once(shell, 'close');
    return output;
  }

  function expectInOrder(output: string, texts: readonly string[]) {
    let at = 0;
    for (const text of texts) {
      expect(output.slice(at)).toContain(text);
      at = output.indexOf(text, at) + text.length;
    }
  }

  test('the README pairs a first station', async () => {
    const [issue = '', pair = ''] = scripts(readme).filter((script) => script.includes('curl'));
    const output = await run(issue + pair);
    expect(output).toMatch(/^\d{6}\n/);
    expect(output).toContain('Charging station successfully paired.');
  });

  test.each(['first', 'second'])('the script of docs/sandbox.md goes through the whole life, the %s time', async () => {
    const script = scripts(sandbox).find((text) => text.startsWith('get()')) ?? '';
    expectInOrder(await run(script), [
      '"status":"active"',
      'Charging station successfully paired.',
      '"status":"used"',
      'Charging station successfully unpaired.',
      '"name":"Demo CPO"',
      '"uid":"SANDBOX-100001"',
      '"items":[{"uid":"SANDBOX-100001"',
      'Charging station successfully unpaired.',
      'cpoUnpairEvse',
    ]);
  });
});

test('the README has at most 80 lines', () => expect(readme.trimEnd().split('\n').length).toBeLessThanOrEqual(80));

test('docs/sandbox.md lists every behaviour of the sandbox CPO', () => {
  for (const code of Object.keys(scenarios)) expect(sandbox).toContain(`\`${code}\``);
});

test('docs/operations.md lists every setting with its default', () => {
  const settings = [...read('.env.example').matchAll(/^# ([A-Z_0-9]+)=(.*)$/gm)];
  expect(settings.length).toBeGreaterThan(20);
  for (const [, name, value] of settings)
    expect(operations).toContain(`| \`${name}\` | ${value === '' ? 'unset' : `\`${value}\``} |`);
});

test('docs/architecture.md names every production dependency', () => {
  const { dependencies } = JSON.parse(read('package.json'));
  const text = read('docs/architecture.md');
  for (const name of Object.keys(dependencies)) expect(text).toContain(`\`${name}\``);
});

/** The newest version of each SQL function, by the name of its file. */
const newestVersions = new Map<string, number>();
for (const file of readdirSync(projectFile('migrations/sql'))) {
  const [, name = '', version] = /^(.+)-v(\d+)\.sql$/.exec(file) ?? [];
  newestVersions.set(name, Math.max(newestVersions.get(name) ?? 0, Number(version)));
}

test('guides and records name the newest version of each SQL function', () => {
  const named = pages.flatMap((page) =>
    [...read(page).matchAll(/\b([a-z-]+)-v(\d+)\.sql\b/g)].map(([file, name = '', version]) => ({
      at: `${page}: ${file}`,
      isNewest: newestVersions.get(name) === Number(version),
    })),
  );
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter(({ isNewest }) => !isNewest).map(({ at }) => at)).toEqual([]);
});

/** These call functions as replicas of an earlier version do. */
const CALL_OLD_VERSIONS = ['tests/db/migrate.test.ts', 'tests/events/feed.test.ts'];

test('the service and its tests call the newest version of each SQL function', () => {
  const sources = ['src', 'tests'].flatMap((folder) =>
    readdirSync(projectFile(folder), { recursive: true }).map((file) => `${folder}/${file}`),
  );
  const calls = sources
    .filter((file) => file.endsWith('.ts') && !CALL_OLD_VERSIONS.includes(file))
    .flatMap((file) =>
      [...read(file).matchAll(/\bscsp_([a-z_]+)_v(\d+)\b/g)].map(([call, name = '', version]) => ({
        at: `${file} calls ${call}, there is a newer one`,
        isNewest: newestVersions.get(name.replaceAll('_', '-')) === Number(version),
      })),
    );
  expect(calls.length).toBeGreaterThan(20);
  expect(calls.filter(({ isNewest }) => !isNewest).map(({ at }) => at)).toEqual([]);
});

test('the records of docs/design have one form, and their index lists each', () => {
  const index = read('docs/design/README.md');
  for (const page of pages.filter((name) => name.startsWith('docs/design/') && !name.endsWith('README.md'))) {
    expect(index).toContain(`(${page.replace('docs/design/', '')})`);
    const headings = [...prose(page).matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    const form = headings.filter((heading) => /^(Context|Decision|Consequences)$/.test(heading ?? ''));
    expect({ page, form }).toEqual({ page, form: ['Context', 'Decision', 'Consequences'] });
  }
});

/** The anchor that GitHub gives a heading. */
const anchorOf = (heading: string) =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-');

const anchors = (page: string) => [...prose(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading));

test.each(pages)('every link of %s leads somewhere', (page) => {
  const links = [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
  const broken = links.filter((link) => {
    if (/^(https?|mailto):/.test(link)) return false;
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? projectFile(page) : resolve(dirname(projectFile(page)), path);
    if (!existsSync(target)) return true;
    return anchor !== undefined && !anchors(target.slice(projectFile('').length)).includes(anchor);
  });
  expect(broken).toEqual([]);
});

/** What has changed names files that were there then. */
const present = pages.filter((page) => page !== 'CHANGELOG.md');

test.each(present)('every file that %s names exists', (page) => {
  const files = [...prose(page).matchAll(/`((?:src|migrations|tests|bench|deploy|docs)\/[\w./-]+)`/g)];
  expect(files.map(([, file = '']) => file).filter((file) => !existsSync(projectFile(file)))).toEqual([]);
});

test('CONTRIBUTING.md names every script of package.json', () => {
  const { scripts } = JSON.parse(read('package.json'));
  // npm runs these before others.
  const own = Object.keys(scripts).filter((name) => !/^pre(pare|start|test)$/.test(name));
  const named = [...read('CONTRIBUTING.md').matchAll(/`npm (?:run )?([\w:]+)`/g)].map(([, name]) => name);
  expect(own.filter((name) => !named.includes(name))).toEqual([]);
});

test.each(present)('every command that %s names exists', (page) => {
  const names = Object.keys(JSON.parse(read('package.json')).scripts);
  for (const [, name = ''] of read(page).matchAll(/npm run ([\w:]+)/g)) expect(names).toContain(name);
  const sources = readdirSync(projectFile('src/cli'));
  const commands = [...read(page).matchAll(/npx --no scsp ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+))?/g)];
  for (const [command, noun = '', verb = noun] of commands.filter(([, name]) => name !== 'help')) {
    // The verbs of a noun are in the file of that name, or in files whose names begin with it.
    const texts = sources.filter((file) => file.startsWith(noun)).map((file) => read(`src/cli/${file}`));
    expect({ command, exists: texts.some((text) => text.includes(`'${verb}'`)) }).toEqual({ command, exists: true });
  }
});
