import { readFileSync } from 'node:fs';
import { cpoChecks } from '../../src/conformance/cpo/checks';
import { parseCodes } from '../../src/conformance/cpo/codes-file';
import { projectFile } from '../../src/contract/document';
import { sandboxCodes } from '../../src/sandbox/scenarios';

const read = (name: string) => readFileSync(projectFile(name), 'utf8');

test('docs/conformance.md lists every check as --list does, in its order', () => {
  const rows = [...read('docs/conformance.md').matchAll(/^\| `([\w.-]+)` \| (required|recommended) \|(.*)\|$/gm)];
  const listed = rows.map(([, id, level, rest = '']) => [id, level, ...rest.split('|').map((cell) => cell.trim())]);
  expect(listed).toEqual(
    cpoChecks.map(({ id, level, changes, needs, title }) => [id, level, changes ? 'yes' : '', needs ?? '', title]),
  );
});

test('only the checks that the contract names are recommended, all others are required', () => {
  expect(cpoChecks.filter(({ level }) => level === 'recommended').map(({ id }) => id)).toEqual([
    'transport-allow',
    'auth-www-authenticate',
    'pair-plausible-voltages',
    'pair-charging-profile-capable',
    'unpair-letter-case',
    'codes-burst',
  ]);
});

test('CHANGELOG.md says how many checks there are', () =>
  expect(/with \d+ checks/.exec(read('CHANGELOG.md'))?.[0]).toBe(`with ${cpoChecks.length} checks`));

test('docs/sandbox.md shows the codes that the sandbox CPO writes, and the kit can read them', () => {
  const [, json = ''] = /`--codes codes\.json` writes.*?```json\n(.*?)```/s.exec(read('docs/sandbox.md')) ?? [];
  expect(parseCodes(json)).toEqual(sandboxCodes);
});

test('docs/conformance.md shows a file of codes that the kit can read', () => {
  const [, json = ''] = /```json\n(.*?)```/s.exec(read('docs/conformance.md')) ?? [];
  expect(Object.keys(parseCodes(json))).toEqual(['good', 'same_station', 'used', 'expired']);
});
