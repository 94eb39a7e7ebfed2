import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADVISORY_LOCKS } from '../../src/db/locks';

const ROOT = join(__dirname, '../..');
const LIST = 'src/db/locks.ts';

const files = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|sql)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1));

/** The advisory lock keys written as numbers in a text: those of our range, and whatever a lock function is called with. */
function keysIn(text: string): number[] {
  const keys = [...text.matchAll(/\b7_?305_?\d{3}\b|(?<=pg_\w*advisory_\w*lock\w*\(\s*)\d[\d_]*/g)];
  return keys.map(([key]) => Number(key.replaceAll('_', '')));
}

const keysOf = (name: string) => keysIn(readFileSync(join(ROOT, name), 'utf8'));

describe('the advisory locks', () => {
  const listed: readonly number[] = Object.values(ADVISORY_LOCKS);

  test('are different from each other', () => expect(new Set(listed).size).toBe(listed.length));

  test('have their keys in one file of src', () => {
    expect(files('src').filter((name) => name !== LIST && keysOf(name).length > 0)).toEqual([]);
    expect(keysOf(LIST).sort()).toEqual([...listed].sort());
  });

  test('of SQL functions and migrations are listed', () => {
    const used = new Set(files('migrations').flatMap(keysOf));
    expect([...used].sort()).toEqual([
      ADVISORY_LOCKS.issueCodes,
      ADVISORY_LOCKS.webhookClaim,
      ADVISORY_LOCKS.expireCodes,
    ]);
  });

  test.each(['select pg_advisory_xact_lock(42)', 'perform pg_try_advisory_lock( 42, 1)', 'const LOCK = 7_305_042;'])(
    'are found in: %s',
    (text) => expect(keysIn(text)).toHaveLength(1),
  );
});
