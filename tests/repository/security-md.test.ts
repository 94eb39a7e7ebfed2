import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUESS_ODDS } from '../../src/codes/code';
import { readConfig } from '../../src/config';
import { projectFile } from '../../src/contract/document';
import { capacity } from '../harness/capacity';

const text = readFileSync(projectFile('SECURITY.md'), 'utf8');
const FOLDER = projectFile('tests');
const TESTS = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' });
const named = [...text.matchAll(/`([a-z/-]+): ([^`]+)`/g)].map(([, file, name]) => [file, name] as const);

test.each(named.filter(([file]) => file !== 'file'))('the test that SECURITY.md names exists: %s, %s', (file, name) => {
  // `jest -t` searches the titles that are printed, in which placeholders have been replaced.
  expect(name).not.toMatch(/%s|\$/);
  const path = TESTS.find((path) => `/${path}`.replace('.alone', '').endsWith(`/${file}.test.ts`));
  expect([file, path]).toEqual([file, expect.any(String)]);
  expect(readFileSync(join(FOLDER, String(path)), 'utf8')).toContain(name);
});

test('the odds in SECURITY.md are those of the defaults', () => {
  const { limits } = readConfig({});
  expect(named.length).toBeGreaterThan(30);
  // A repeated guess meets the codes of one more minute of the ten that a code lives.
  const odds = ((1.1 * limits.cpo24H) / GUESS_ODDS) * 100;
  expect(text).toContain(
    `**1.1 · ${limits.cpo24H} / ${GUESS_ODDS.toLocaleString('en')} = ${odds.toFixed(2)} % a day**`,
  );
  expect(text).toContain(`\`LIMIT_PER_SUCCESS\` = ${limits.perSuccess} to it`);
  expect(text).toContain(`(${limits.cpo10Min} in ten minutes, \`LIMIT_CPO_10MIN\``);
  expect(text).toContain(`for each \`uid\`, ${limits.cpoUid24H} a day and ${limits.cpoUid10Min} in ten minutes`);
  expect(capacity(6)).toBe(1e6 / GUESS_ODDS);
});
