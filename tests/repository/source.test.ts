import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const ROOT = join(__dirname, '../..');
const CRUISER = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
const GENERATED = 'src/contract/generated.ts';

/** Every violation of `.dependency-cruiser.cjs` in a folder that holds `src` and `migrations`. */
function violationsIn(folder: string): string[] {
  const config = join(ROOT, '.dependency-cruiser.cjs');
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [CRUISER, 'src', 'migrations', '--config', config, '--output-type', 'json'],
    { cwd: folder, encoding: 'utf8', maxBuffer: 100_000_000 },
  );
  if (!stdout.startsWith('{')) throw new Error(`dependency-cruiser did not run: ${stderr}`);
  const { modules, summary } = JSON.parse(stdout);
  if (modules.length === 0) throw new Error('dependency-cruiser saw no file');
  return summary.violations.map((v: any) => `${v.rule.name}: ${v.from} -> ${v.to}`);
}

/** A project without a violation. */
const ALLOWED = {
  'package.json': '{ "dependencies": { "here": "1.0.0" }, "devDependencies": { "tool": "1.0.0" } }',
  'node_modules/here/package.json': '{ "name": "here", "version": "1.0.0" }',
  'node_modules/here/index.js': '',
  'node_modules/tool/package.json': '{ "name": "tool", "version": "1.0.0" }',
  'node_modules/tool/index.js': '',
  'migrations/index.ts': 'export const migrations = [];',
  'src/main.ts': "import './service';",
  'src/service.ts':
    "import '../migrations'; import './http/app'; import './codes/http'; import './sandbox/start'; import 'here';",
  'src/sandbox/start.ts': "import './cpo'; export const start = 1;",
  'src/sandbox/cpo.ts': "import '../log'; export const cpo = 1;",
  'src/http/app.ts': "import { log } from '../log'; export const app = log;",
  'src/codes/http.ts': "import '../tokens/tokens'; import '../http/app'; export const handlers = 1;",
  'src/tokens/tokens.ts': "import '../context'; import '../db/pool'; export const tokens = 1;",
  'src/context.ts': "import type { Pool } from './db/pool'; export type Context = Pool;",
  'src/db/pool.ts': "import { log } from '../log'; export const pool = log; export type Pool = 1;",
  'src/log.ts': 'export const log = 1;',
};

/** One import for each way to break a rule. */
const VIOLATING = {
  'migrations/index.ts': "import '../src/log'; export const migrations = [];",
  'src/main.ts':
    "import './service'; import './pairing/pair'; import './stations/stations'; import './delivery/engine';",
  'src/service.ts':
    "import './cli/verb'; import '../migrations'; import './http/app'; import './codes/http'; import './sandbox/start'; import './embedded-postgres/launcher'; import './audit/audit'; import './crypto/keys';",
  'src/cli/verb.ts': 'export const verb = 1;',
  'src/sandbox/cpo.ts': "import '../context'; export const cpo = 1;",
  'src/http/app.ts': "import '../service'; import '../sandbox/cpo'; export const app = 1;",
  'src/codes/http.ts': "import '../cli/verb'; import './codes'; export const handlers = 1;",
  'src/pairing/pair.ts': "import '../http/app'; import '../codes/codes'; export const pair = 1;",
  'src/codes/codes.ts': "import '../tokens/tokens'; export const codes = 1;",
  'src/tokens/tokens.ts': "import '../pairing/pair'; export const tokens = 1;",
  'src/audit/audit.ts': "import '../tokens/tokens'; export const audit = 1;",
  'src/protocols/ocpp.ts': "import '../codes/codes'; export const ocpp = 1;",
  'src/stations/stations.ts': "import '../protocols/ocpp'; import './station';",
  'src/stations/station.ts': "import '../log';",
  'src/delivery/engine.ts': "import '../context'; export const engine = 1;",
  'src/embedded-postgres/launcher.ts': "import '../log'; export const launcher = 1;",
  'src/context.ts': "import type { tokens } from './tokens/tokens'; export type Context = typeof tokens;",
  'src/db/pool.ts': "import type { Rows } from './query'; export type Pool = Rows;",
  'src/db/query.ts': "import type { Pool } from './pool'; export type Rows = Pool;",
  'src/db/unused.ts': "import './pool';",
  'src/crypto/keys.ts': "import '../db/pool'; export const keys = 1;",
  'src/log.ts': "import type { Pool } from './db/pool'; import './utils'; export const log: Pool = 1;",
  'src/utils.ts': "import 'tool'; import 'nowhere';",
};

function violationsOf(files: Record<string, string>): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-imports-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  try {
    return violationsIn(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('imports', () => {
  test('go one way', () => expect(violationsIn(ROOT)).toEqual([]));

  test('that go one way are allowed', () => expect(violationsOf(ALLOWED)).toEqual([]));

  test('that break a rule are found, and no others', () => {
    expect(violationsOf({ ...ALLOWED, ...VIOLATING }).sort()).toEqual([
      'audit-imports-nothing-from-above: src/audit/audit.ts -> src/tokens/tokens.ts',
      'context-imports-nothing-from-above: src/context.ts -> src/tokens/tokens.ts',
      'counterparts-know-only-the-contract: src/sandbox/cpo.ts -> src/context.ts',
      'crypto-imports-nothing-from-above: src/crypto/keys.ts -> src/db/pool.ts',
      'db-imports-nothing-from-above: src/delivery/engine.ts -> src/context.ts',
      'embedded-postgres-knows-nothing-of-the-service: src/embedded-postgres/launcher.ts -> src/log.ts',
      'every-file-has-its-place: src/log.ts -> src/utils.ts',
      'every-file-is-used: src/db/unused.ts -> src/db/unused.ts',
      'features-do-not-import-each-other: src/codes/codes.ts -> src/tokens/tokens.ts',
      'features-imports-nothing-from-above: src/tokens/tokens.ts -> src/pairing/pair.ts',
      'foundation-imports-nothing-from-above: src/log.ts -> src/db/pool.ts',
      'http-imports-nothing-from-above: src/codes/http.ts -> src/cli/verb.ts',
      'http-imports-nothing-from-above: src/http/app.ts -> src/service.ts',
      'imports-resolve: src/utils.ts -> nowhere',
      'migrations-stand-alone: migrations/index.ts -> src/log.ts',
      'no-cycles: src/audit/audit.ts -> src/tokens/tokens.ts',
      'no-cycles: src/codes/codes.ts -> src/tokens/tokens.ts',
      'no-cycles: src/codes/http.ts -> src/codes/codes.ts',
      'no-cycles: src/context.ts -> src/tokens/tokens.ts',
      'no-cycles: src/db/pool.ts -> src/db/query.ts',
      'no-cycles: src/http/app.ts -> src/service.ts',
      'no-cycles: src/sandbox/start.ts -> src/sandbox/cpo.ts',
      'nothing-below-the-top-imports-a-counterpart: src/http/app.ts -> src/sandbox/cpo.ts',
      'only-production-dependencies: src/utils.ts -> node_modules/tool/index.js',
      'pairing-imports-nothing-from-above: src/pairing/pair.ts -> src/http/app.ts',
      'protocols-imports-nothing-from-above: src/protocols/ocpp.ts -> src/codes/codes.ts',
      'service-imports-nothing-from-above: src/service.ts -> src/cli/verb.ts',
      'station-rules-import-nothing: src/stations/station.ts -> src/log.ts',
      'stations-imports-nothing-from-above: src/stations/stations.ts -> src/protocols/ocpp.ts',
    ]);
  });
});

const PROCESS_LISTENERS = new Set(['on', 'once', 'addListener', 'prependListener', 'prependOnceListener']);

/** What a source uses that only one file may use, or none. */
function uses(text: string): Set<string> {
  const found = new Set<string>();
  if (/@ts-(ignore|expect-error|nocheck)/.test(text)) found.add('a silenced compiler');
  const visit = (node: ts.Node): void => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) found.add('any');
    if (ts.isStringLiteral(node) && /^(node:)?process$/.test(node.text)) found.add('process as a module');
    if (ts.isIdentifier(node) && node.text === 'process') {
      const { parent } = node;
      const member = ts.isPropertyAccessExpression(parent) && parent.expression === node ? parent.name.text : undefined;
      if (member === 'env') found.add('process.env');
      else if (member === undefined ? !ts.isPropertyAccessExpression(parent) : PROCESS_LISTENERS.has(member))
        found.add(member === undefined ? 'process as a value' : 'process.on');
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('source.ts', text, ts.ScriptTarget.Latest, true));
  return found;
}

function files(...folders: string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(ROOT, join(entry.parentPath, entry.name))),
  );
}

const SOURCES = files('src', 'migrations').filter((name) => name.endsWith('.ts') && name !== GENERATED);
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');
const using = (what: string) => SOURCES.filter((name) => uses(read(name)).has(what));

describe('the sources', () => {
  test('are found', () => expect(SOURCES).toEqual(expect.arrayContaining(['src/main.ts', 'src/http/app.ts'])));

  test('read the environment in config.ts only', () => expect(using('process.env')).toEqual(['src/config.ts']));

  test('listen to the process in the two programs only', () =>
    expect(using('process.on').sort()).toEqual(['src/cli.ts', 'src/main.ts']));

  test.each(['any', 'a silenced compiler', 'process as a value', 'process as a module'])('do without %s', (what) =>
    expect(using(what)).toEqual([]),
  );

  test.each([
    ['any', 'const x: Record<string, any> = {};'],
    ['any', 'const x = y as any;'],
    ['a silenced compiler', '// @ts-expect-error\nx();'],
    ['process.env', 'const { PORT } = process.env;'],
    ['process.on', "process.once('exit', stop);"],
    ['process as a value', 'const { env } = process;'],
    ['process as a value', "process['env'].PORT;"],
    ['process as a module', "import { env } from 'node:process';"],
  ])('%s is found in: %s', (what, text) => expect(uses(text)).toContain(what));

  test('may say any and use the rest of process', () =>
    expect(uses("/** any, process.env */ const x = 'any'; process.exit(1); child.process; on.env;")).toEqual(
      new Set(),
    ));

  test('are read in one sitting: 250 lines at most', () => {
    const long = SOURCES.map((name) => [name, read(name).trimEnd().split('\n').length] as const);
    expect(long.filter(([, lines]) => lines > 250)).toEqual([]);
  });

  test('are at most eight at the root of src', () =>
    expect(SOURCES.filter((name) => dirname(name) === 'src').length).toBeLessThanOrEqual(8));

  test('have names in kebab-case', () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(alone|test|suite|faults|config|d))*(\.[a-z]+)?$/;
    const odd = files('src', 'migrations', 'tests');
    expect(odd.filter((name) => !name.split('/').every((part) => kebab.test(part)))).toEqual([]);
    expect('camelCase.ts').not.toMatch(kebab);
  });
});
