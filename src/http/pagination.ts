import { validate as isUuid, MAX, NIL } from 'uuid';
import { Problem } from '../problems';

/** A page of a list: its items and the cursor of the next page (contract, section 2). */
export type Page<Item> = { items: Item[]; next_cursor: string | null };

const DEFAULT_LIMIT = 50;

/** Before every id. */
export const FIRST_ID = NIL;

/** After every id, for lists of which the latest come first. */
export const LAST_ID = MAX;

/**
 * Reads one page of a list by keyset pagination, so that added items do not shift the pages.
 * @param first a key before all keys
 * @param read returns up to `limit` items after a key, in the order of their keys
 * @throws Problem `invalid-request` for a cursor that is not of this list
 */
export async function readPage<Item, Written>(
  query: { cursor?: string | undefined; limit?: number | undefined },
  first: string,
  keyOf: (item: Item) => string,
  read: (after: string, limit: number) => Promise<Item[]>,
  write: (item: Item) => Written,
): Promise<Page<Written>> {
  const limit = query.limit ?? DEFAULT_LIMIT;
  const after = query.cursor === undefined ? first : readCursor(query.cursor);
  // One item more than asked for shows whether there is a next page.
  const found = await read(after, limit + 1);
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const next = found.length > limit && last !== undefined ? writeCursor(keyOf(last)) : null;
  return { items: items.map(write), next_cursor: next };
}

/** Returns the cursor of what follows a key. */
export const writeCursor = (key: string) => Buffer.from(key).toString('base64url');

/**
 * Returns the key in a cursor.
 * @throws Problem `invalid-request`
 */
export function readCursor(cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString('utf8');
  if (writeCursor(key) === cursor && !key.includes('\0')) return key;
  throw invalidCursor();
}

/**
 * Returns the key of a list that is paginated by id.
 * @throws Problem `invalid-request`
 */
export function idIn(key: string): string {
  if (isUuid(key)) return key;
  throw invalidCursor();
}

/** After every position, for lists of which the latest come first. */
export const LAST_POSITION = String(2n ** 63n - 1n);

/**
 * Returns the key of a list that is paginated by position in the feed.
 * @throws Problem `invalid-request`
 */
export function positionIn(key: string): string {
  if (/^\d{1,19}$/.test(key) && BigInt(key) <= BigInt(LAST_POSITION)) return key;
  throw invalidCursor();
}

/** A cursor that is not of this list. */
export function invalidCursor(): Problem {
  const errors = [{ pointer: '/cursor', message: 'must be a next_cursor of this list' }];
  return new Problem('invalid-request', { errors });
}
