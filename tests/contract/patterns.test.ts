import { readContract } from '../../src/contract/document';
import { isUid } from '../../src/stations/station';

/** Every pattern of the document, with the place of the first schema that has it. */
function patternsOf(node: unknown, place = ''): [pattern: string, place: string][] {
  if (typeof node !== 'object' || node === null) return [];
  const own: [string, string][] = 'pattern' in node && typeof node.pattern === 'string' ? [[node.pattern, place]] : [];
  return [...own, ...Object.entries(node).flatMap(([name, child]) => patternsOf(child, `${place}/${name}`))];
}

const patterns = new Map(patternsOf(readContract().document).toReversed());

test('the document has patterns', () => expect(patterns.size).toBeGreaterThan(3));

/** Escapes and groups that RE2, Python's `re` and JavaScript without flags read alike. */
const SHARED = /^(?:\\x[0-9a-f]{2}|\\\.|\((?!\?)|[^\\(])*$/;

describe.each([...patterns])('the pattern %s of %s', (pattern) => {
  test('has nothing that only some engines know: no look-around, no \\p, no named or non-capturing groups', () =>
    expect(pattern).toMatch(SHARED));

  test('has whole strings in mind', () => expect(pattern).toMatch(/^\^.*\$$/s));

  test('means the same with the flag u of JSON Schema and without flags', () => {
    const [plain, unicode] = [new RegExp(pattern), new RegExp(pattern, 'u')];
    const characters = [...Array(0x300).keys(), 0x2028, 0x2212, 0xfeff, 0xff0d, 0x1f50c].map((c) =>
      String.fromCodePoint(c),
    );
    for (const text of [
      '',
      '.',
      '..',
      '...',
      '.a',
      '..a',
      'apple',
      '1234',
      '"a"',
      '""',
      ...characters.flatMap((c) => [c, `a${c}b`]),
    ])
      expect([text, plain.test(text)]).toEqual([text, unicode.test(text)]);
  });
});

test.each(['^(?!a)$', '^(?<=a)b$', '^\\p{C}$', '^(?<name>a)$', '^(?:a)$', '^\\u0041$', '^\\d$'])(
  '%s would be found',
  (pattern) => expect(pattern).not.toMatch(SHARED),
);

test('isUid decides as the schema StationUid', () => {
  const { pattern, minLength, maxLength } = Object(readContract().document.components.schemas?.StationUid);
  const bySchema = (text: string) =>
    text.length >= minLength && text.length <= maxLength && new RegExp(pattern).test(text);
  const characters = Array.from({ length: 0x100 }, (_, c) => String.fromCharCode(c));
  for (const text of [
    '',
    '.',
    '..',
    '...',
    '.a',
    'x'.repeat(48),
    'x'.repeat(49),
    ...characters,
    ...characters.map((c) => `a${c}b`),
  ])
    expect([text, isUid(text)]).toEqual([text, bySchema(text)]);
});
