import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import ts from 'typescript';
import { projectFile } from '../../src/contract/document';

const { dependencies, devDependencies } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));

/** The packages that a source loads when it runs: not for types alone, and by a name that stands there. */
function loaded(text: string): Set<string> {
  const found = new Set<string>();
  const add = (node: ts.Node | undefined) => {
    if (node === undefined || !ts.isStringLiteralLike(node) || node.text.startsWith('.')) return;
    const [scope = '', name = ''] = node.text.split('/');
    found.add(scope.startsWith('@') ? `${scope}/${name}` : scope);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const { importClause: clause } = node;
      const names = clause?.namedBindings;
      const typesAlone =
        names !== undefined && ts.isNamedImports(names) && names.elements.every(({ isTypeOnly }) => isTypeOnly);
      if (clause === undefined || (!clause.isTypeOnly && (clause.name !== undefined || !typesAlone)))
        add(node.moduleSpecifier);
    }
    if (ts.isExportDeclaration(node) && !node.isTypeOnly) add(node.moduleSpecifier);
    if (ts.isCallExpression(node) && /^(import|require(\.resolve)?)$/.test(node.expression.getText()))
      add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('source.ts', text, ts.ScriptTarget.Latest, true));
  return found;
}

/** Of every file in `src` and `migrations`, without what Node brings. */
function loadedHere(): string[] {
  const texts = ['src', 'migrations'].flatMap((folder) =>
    readdirSync(projectFile(folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(join(projectFile(folder), name), 'utf8')),
  );
  const packages = new Set(texts.flatMap((text) => [...loaded(text)]));
  return [...packages].filter((name) => !name.startsWith('node:') && !builtinModules.includes(name)).sort();
}

/** The compiler and the types that it reads. */
const forTheBuild = (name: string) => name === 'typescript' || name.startsWith('@types/');

test('every production dependency is loaded by the service or needed to build it, and nothing else is', () => {
  const production = Object.keys(dependencies).filter((name) => !forTheBuild(name));
  expect(loadedHere()).toEqual(production.sort());
});

test('the build reads nothing that an install with NODE_ENV=production leaves out', () => {
  const { packages } = JSON.parse(readFileSync(projectFile('package-lock.json'), 'utf8'));
  const folder = projectFile('src');
  const { config } = ts.readConfigFile(join(folder, 'tsconfig.json'), ts.sys.readFile);
  const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, folder);
  const files = ts.createProgram(fileNames, options).getSourceFiles();
  const read = files.flatMap(
    ({ fileName }) => /node_modules\/(?:@[^/]+\/)?[^/]+(?=\/(?!.*node_modules))/.exec(fileName) ?? [],
  );
  const names = [...new Set(read), 'node_modules/typescript'];
  expect(names.length).toBeGreaterThan(10);
  expect(names.filter((name) => packages[name].dev)).toEqual([]);
});

test('no package is a dependency of production and of development', () =>
  expect(Object.keys(dependencies).filter((name) => name in devDependencies)).toEqual([]));

test('every dependency has one version, not a range', () => {
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
    expect({ name, version }).toEqual({ name, version: expect.stringMatching(/^\d+\.\d+\.\d+(-[\w.]+)?$/) });
});

test.each([
  ["import { a } from 'x';", ['x']],
  ["import a from 'x/y';", ['x']],
  ["import 'x';", ['x']],
  ["import { type A, b } from '@x/y/z';", ['@x/y']],
  ["import a, { type B } from 'x';", ['x']],
  ["import { type A } from 'x';", []],
  ["import type { A } from 'x';", []],
  ["export { a } from 'x';", ['x']],
  ["const a = await import('x');", ['x']],
  ["require.resolve('x/package.json');", ['x']],
  ["import { a } from './x'; // from 'y'", []],
])('what is loaded is found: %s', (text, packages) => expect([...loaded(text)]).toEqual(packages));
