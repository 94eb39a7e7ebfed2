import { existsSync, readFileSync } from 'node:fs';
import { capacity, GUESS_ODDS } from '../src/codes/code';
import { readConfig } from '../src/config';
import { projectFile } from '../src/contract/document';

const text = readFileSync(projectFile('SECURITY.md'), 'utf8');
const named = [...text.matchAll(/`([a-z/-]+): ([^`]+)`/g)].map(([, file, name]) => [file, name] as const);

test.each(named.filter(([file]) => file !== 'file'))('the test that SECURITY.md names exists: %s, %s', (file, name) => {
  const path = projectFile(`tests/${file}.test.ts`);
  expect(existsSync(path)).toBe(true);
  expect(readFileSync(path, 'utf8')).toContain(name);
});

test('the odds that SECURITY.md tells are those of the defaults', () => {
  const { limits } = readConfig({});
  expect(named.length).toBeGreaterThan(30);
  // A repeated guess meets the codes of one more minute of the ten that a code lives.
  const odds = ((1.1 * limits.cpo24H) / GUESS_ODDS) * 100;
  expect(text).toContain(
    `**1.1 · ${limits.cpo24H} / ${GUESS_ODDS.toLocaleString('en')} = ${odds.toFixed(2)} % a day**`,
  );
  expect(text).toContain(`\`LIMIT_PER_SUCCESS\` = ${limits.perSuccess} to it`);
  expect(text).toContain(`(${limits.cpo10Min} in ten minutes, \`LIMIT_CPO_10MIN\``);
  expect(text).toContain(`for one uid ${limits.cpoUid24H} a day and ${limits.cpoUid10Min} in ten minutes`);
  expect(capacity(6)).toBe(1e6 / GUESS_ODDS);
});

test('every command that SECURITY.md tells exists', () => {
  const commands = [...text.matchAll(/npx --no scsp ([a-z-]+)( [a-z-]+)?/g)];
  expect(commands.length).toBeGreaterThan(2);
  for (const [, noun = '', verb = noun] of commands)
    expect(readFileSync(projectFile(`src/cli/${noun}.ts`), 'utf8')).toContain(`'${verb.trim()}'`);
});
