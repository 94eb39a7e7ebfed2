import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SUITES } from '../suites/together';

const TESTS = join(__dirname, '..');
const files = readdirSync(TESTS, { recursive: true }).map(String);

test('each folder with tests is in one suite of tests/suites/together.ts: npm test runs no other file', () => {
  const folders = files.filter((file) => file.endsWith('.test.ts')).map((file) => file.split('/')[0]);
  expect(Object.values(SUITES).flat().sort()).toEqual([...new Set(folders)].sort());
});

test('each suite has the file that jest runs', () => {
  const suites = files.filter((file) => file.endsWith('.suite.ts'));
  expect(suites.sort()).toEqual(
    Object.keys(SUITES)
      .map((suite) => join('suites', `${suite}.suite.ts`))
      .sort(),
  );
});
