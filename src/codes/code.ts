import { createHmac } from 'node:crypto';

/** Returns what a customer typed without white space, invisible characters and dashes of every kind (U+2212 is not in Pd). */
export function normalizeCode(typed: string): string {
  return typed.replace(/[\s\p{Cf}\p{Pd}\u2212]/gu, '');
}

/** Codes are stored as this only: whoever reads the database cannot try all six-digit codes without the key. */
export function hashCode(key: Buffer, code: string): Buffer {
  return createHmac('sha256', key).update(code).digest();
}

/**
 * Returns a code and every string that leaves one of its digits out. Two codes within one edit (a digit changed, added or
 * missing, or two neighbours swapped) have one of these in common.
 */
export function deletionNeighbours(code: string): string[] {
  const neighbours = Array.from(code, (_, at) => code.slice(0, at) + code.slice(at + 1));
  return [...new Set([code, ...neighbours])];
}

/**
 * Returns the keyed hashes of a code's deletion neighbours: 64 bits of an HMAC-SHA-256, as a `bigint` of PostgreSQL. Two
 * that are equal by accident refuse a value that would do, and nothing else.
 */
export function neighbourKeys(key: Buffer, code: string): string[] {
  return deletionNeighbours(code).map((neighbour) =>
    createHmac('sha256', key).update(`neighbour ${neighbour}`).digest().readBigInt64BE().toString(),
  );
}

/**
 * Returns every string that is within one edit of a code, for the comparison with codes of a previous version, which have
 * no neighbour keys.
 */
export function nearTwins(code: string): string[] {
  const twins = new Set<string>();
  for (let at = 0; at <= code.length; at++) {
    const before = code.slice(0, at);
    const after = code.slice(at + 1);
    for (const digit of '0123456789') {
      twins.add(before + digit + code.slice(at));
      if (at < code.length) twins.add(before + digit + after);
    }
    if (at < code.length) twins.add(before + after);
    if (at + 1 < code.length) twins.add(before + code[at + 1] + code[at] + code.slice(at + 2));
  }
  twins.delete(code);
  return [...twins];
}

/** At most one active code in so many values of a length, so that a guess hits with a chance of at most 1 in this. */
export const GUESS_ODDS = 20_000;

/** Returns how many codes of a length may be active at once while no other value is kept back. */
export function capacity(length: number): number {
  return Math.floor(10 ** length / GUESS_ODDS);
}
