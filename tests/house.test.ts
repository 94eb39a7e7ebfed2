import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const ROOT = join(__dirname, '..');
const CRUISER = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
const GENERATED = 'src/contract/generated.ts';

/** Every breach of `.dependency-cruiser.cjs` in a folder that holds `src` and `migrations`. */
function breaches(folder: string): string[] {
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

/** A house in order, in which two files of `db` know each other by their types only. */
const SOUND = {
  'package.json': '{ "dependencies": { "here": "1.0.0" }, "devDependencies": { "tool": "1.0.0" } }',
  'node_modules/here/package.json': '{ "name": "here", "version": "1.0.0" }',
  'node_modules/here/index.js': '',
  'node_modules/tool/package.json': '{ "name": "tool", "version": "1.0.0" }',
  'node_modules/tool/index.js': '',
  'migrations/index.ts': 'export const migrations = [];',
  'src/main.ts': "import './service';",
  'src/service.ts':
    "import '../migrations'; import './http/app'; import './tokens/tokens'; import './demo'; import 'here';",
  'src/demo.ts': 'export const demo = 1;',
  'src/http/app.ts': "import { log } from '../log'; export const app = log;",
  'src/tokens/tokens.ts': "import '../db/rope'; export const tokens = 1;",
  'src/db/bell.ts': "import type { Rope } from './rope'; export const bell: Rope = 1; export type Bell = 1;",
  'src/db/rope.ts': "import { bell } from './bell'; export const rope = bell; export type Rope = 1;",
  'src/log.ts': 'export const log = 1;',
};

/** One import for each way to break the house. */
const BREACHES = {
  'migrations/index.ts': "import '../src/log'; export const migrations = [];",
  'src/main.ts':
    "import './service'; import './sandbox/cpo'; import './pairing/pair'; import './stations/table'; import './delivery/engine';",
  'src/service.ts': "import './cli/verb'; import '../migrations'; import './http/app'; import './stations/http';",
  'src/cli/verb.ts': 'export const verb = 1;',
  'src/sandbox/cpo.ts': "import '../demo'; export const cpo = 1;",
  'src/http/app.ts': "import { demo } from '../demo'; import '../sandbox/cpo'; export const app = demo;",
  'src/pairing/pair.ts': "import '../http/app'; import '../codes/codes'; export const pair = 1;",
  'src/codes/codes.ts': "import '../tokens/tokens'; export const codes = 1;",
  'src/tokens/tokens.ts': "import '../pairing/pair'; export const tokens = 1;",
  'src/protocols/ocpp.ts': "import '../codes/codes'; export const ocpp = 1;",
  'src/stations/table.ts': "import '../protocols/ocpp'; import './station';",
  'src/stations/station.ts': "import '../log';",
  'src/stations/http.ts': "import '../protocols/ocpp'; import '../codes/codes';",
  'src/delivery/engine.ts': "import '../demo'; export const engine = 1;",
  'src/db/bell.ts':
    "import { rope } from './rope'; import '../context'; export const bell = rope; export type Bell = 1;",
  'src/db/rope.ts': "import { bell } from './bell'; import '../stations/station'; export const rope = bell;",
  'src/db/attic.ts': "import './bell';",
  'src/log.ts': "import type { Bell } from './db/bell'; import './utils'; export const log: Bell = 1;",
  'src/context.ts': "import './log';",
  'src/utils.ts': "import 'tool'; import 'nowhere';",
};

function breachesOf(files: Record<string, string>): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-house-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  try {
    return breaches(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('who may import whom', () => {
  test('the house is in order', () => expect(breaches(ROOT)).toEqual([]));

  test('a sound house is found in order', () => expect(breachesOf(SOUND)).toEqual([]));

  test('every breach is found, and nothing else', () => {
    expect(breachesOf({ ...SOUND, ...BREACHES }).sort()).toEqual([
      'context-imports-only-types: src/context.ts -> src/log.ts',
      'counterparts-know-only-the-contract: src/sandbox/cpo.ts -> src/demo.ts',
      'db-imports-nothing-from-above: src/db/rope.ts -> src/stations/station.ts',
      'delivery-imports-nothing-from-above: src/delivery/engine.ts -> src/demo.ts',
      'every-file-has-its-place: src/log.ts -> src/utils.ts',
      'every-file-is-used: src/db/attic.ts -> src/db/attic.ts',
      'features-do-not-import-each-other: src/codes/codes.ts -> src/tokens/tokens.ts',
      'features-imports-nothing-from-above: src/tokens/tokens.ts -> src/pairing/pair.ts',
      'floor-imports-nothing-from-above: src/log.ts -> src/db/bell.ts',
      'http-imports-nothing-from-above: src/http/app.ts -> src/demo.ts',
      'imports-resolve: src/utils.ts -> nowhere',
      'migrations-stand-alone: migrations/index.ts -> src/log.ts',
      'no-cycles: src/codes/codes.ts -> src/tokens/tokens.ts',
      'no-cycles: src/db/bell.ts -> src/db/rope.ts',
      'nothing-below-the-top-imports-a-counterpart: src/http/app.ts -> src/sandbox/cpo.ts',
      'only-production-dependencies: src/utils.ts -> node_modules/tool/index.js',
      'pairing-imports-nothing-from-above: src/pairing/pair.ts -> src/http/app.ts',
      'protocols-imports-nothing-from-above: src/protocols/ocpp.ts -> src/codes/codes.ts',
      'service-imports-nothing-from-above: src/service.ts -> src/cli/verb.ts',
      'station-edge-imports-nothing-above-the-protocols: src/stations/http.ts -> src/codes/codes.ts',
      'station-rules-import-nothing: src/stations/station.ts -> src/log.ts',
      'stations-imports-nothing-from-above: src/stations/table.ts -> src/protocols/ocpp.ts',
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

  test('listen to the process in main.ts only', () => expect(using('process.on')).toEqual(['src/main.ts']));

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

  test('may speak of any thing and use the rest of process', () =>
    expect(uses("/** any, process.env */ const x = 'any'; process.exit(1); child.process; on.env;")).toEqual(
      new Set(),
    ));

  test('are read in one sitting: 250 lines at most', () => {
    const long = SOURCES.map((name) => [name, read(name).trimEnd().split('\n').length] as const);
    expect(long.filter(([, lines]) => lines > 250)).toEqual([]);
  });

  test('have names in kebab-case', () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|gen|d))?(\.[a-z]+)?$/;
    const odd = [...files('src', 'migrations'), ...readdirSync(__dirname).map((name) => `tests/${name}`)];
    expect(odd.filter((name) => !name.split('/').every((part) => kebab.test(part)))).toEqual([]);
    expect('camelCase.ts').not.toMatch(kebab);
  });
});
