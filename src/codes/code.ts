import { createHmac, type KeyObject } from 'node:crypto';

/** Removes white space, invisible characters (Cf) and dashes (Pd and U+2212) from a code as typed. */
export function normalizeCode(typed: string): string {
  return typed.replace(/[\s\p{Cf}\p{Pd}\u2212]/gu, '');
}

/** Returns whether a uid is the code of its request. */
export const repeatsCode = (uid: string, code: string) => normalizeCode(uid) === normalizeCode(code);

/** A shorter code, which only a CPO can issue, would be found in too many texts. */
const SHORTEST_WORD = 4;

/** Returns whether a text is a code, or has it as a word: codes are not logged, wherever a careless caller puts them. */
export function namesCode(text: string, code: string): boolean {
  const wanted = normalizeCode(code);
  if (normalizeCode(text) === wanted) return true;
  return wanted.length >= SHORTEST_WORD && text.split(/[^\p{L}\p{N}]+/u).includes(wanted);
}

/** Returns the keyed hash under which a code is stored. An unkeyed hash of six digits could be reversed by brute force. */
export function hashCode(key: KeyObject, code: string): Buffer {
  return createHmac('sha256', key).update(code).digest();
}

/**
 * Returns a code and every string obtained by deleting one of its digits. Two codes within one edit (a digit changed,
 * inserted or deleted, or two adjacent digits swapped) share at least one of these strings.
 */
export function deletionNeighbours(code: string): string[] {
  const neighbours = Array.from(code, (_, at) => code.slice(0, at) + code.slice(at + 1));
  return [...new Set([code, ...neighbours])];
}

/**
 * Returns the keyed hashes of a code's deletion neighbours: the first 64 bits of an HMAC-SHA-256, as a PostgreSQL
 * `bigint`. A hash collision only rejects a value that could have been issued.
 */
export function neighbourKeys(key: KeyObject, code: string): string[] {
  return deletionNeighbours(code).map((neighbour) =>
    createHmac('sha256', key).update(`neighbour ${neighbour}`).digest().readBigInt64BE().toString(),
  );
}

/** Returns every string within one edit of a code, to compare it with codes of 0.1, which have no neighbour keys. */
export function codesWithinOneEdit(code: string): string[] {
  const found = new Set<string>();
  for (let at = 0; at <= code.length; at++) {
    const before = code.slice(0, at);
    const after = code.slice(at + 1);
    for (const digit of '0123456789') {
      found.add(before + digit + code.slice(at));
      if (at < code.length) found.add(before + digit + after);
    }
    if (at < code.length) found.add(before + after);
    if (at + 1 < code.length) found.add(before + code[at + 1] + code[at] + code.slice(at + 2));
  }
  found.delete(code);
  return [...found];
}

/** Limits active codes to one in this many values of a length, and so the probability that a guess is right. */
export const GUESS_ODDS = 20_000;
