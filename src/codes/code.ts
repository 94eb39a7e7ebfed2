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
 * Every string that one slip of a typing finger makes of a code: one digit changed, left out or put in, or two
 * neighbours swapped. A new code is none of these of an active one, so that a typo never reaches a stranger.
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

/** How many codes of a length may be active at once. */
export function capacity(length: number): number {
  return Math.floor(10 ** length / GUESS_ODDS);
}
