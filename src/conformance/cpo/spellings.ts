/**
 * A character as it is, or as it is written in JSON, a URL or HTML, escaped more than once perhaps. Numbers are bounded, because a
 * response may consist of backslashes.
 */
const SPELLING =
  /([^\\%&\u0080-\u{10ffff}]+)|\\{1,8}[uU]([\da-fA-F]{4})|%(?:25){0,3}([\da-fA-F]{2})|&#(?:[xX]0{0,6}([\da-fA-F]{1,6})|0{0,6}(\d{1,7}));|./gsu;

/** The bytes of a text whatever its spelling and letter case, and where each of them is in the text. */
type Plain = { readonly bytes: readonly number[]; readonly from: readonly number[]; readonly to: readonly number[] };

/** Undoes every spelling, in time proportional to the length of the text. */
function plainOf(text: string): Plain {
  const bytes: number[] = [];
  const from: number[] = [];
  const to: number[] = [];
  for (const match of text.matchAll(SPELLING)) {
    const [spelling, ascii, unicode, percent, hex, decimal] = match;
    const read = ascii === undefined ? bytesOf(spelling, percent, unicode ?? hex, decimal) : lowerCase(ascii, 'latin1');
    for (const [n, byte] of read.entries()) {
      bytes.push(byte);
      from.push(match.index + (ascii === undefined ? 0 : n));
      to.push(match.index + (ascii === undefined ? spelling.length : n + 1));
    }
  }
  return { bytes, from, to };
}

/** Returns the UTF-8 bytes of a character, none for a backslash that may escape the next one. */
function bytesOf(spelling: string, percent?: string, hex?: string, decimal?: string): Buffer {
  if (percent !== undefined) return lowerCase(String.fromCharCode(Number.parseInt(percent, 16)), 'latin1');
  const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
  if (code <= 0x10ffff) return lowerCase(String.fromCodePoint(code), 'utf8');
  return spelling === '\\' ? Buffer.alloc(0) : lowerCase(spelling, 'utf8');
}

/** `latin1`: bytes, whose case is known in ASCII only. */
const lowerCase = (text: string, encoding: 'latin1' | 'utf8') =>
  Buffer.from(encoding === 'latin1' && text > '\x7f' ? text : text.toLowerCase(), encoding);

type Range = { readonly start: number; readonly end: number };

export type Finder = (text: Plain) => Range[];

/** Creates a function that finds a secret in a text, in any letter case and spelling, in time proportional to the length of both. */
export function finderOf(secret: string): Finder {
  const { bytes: wanted } = plainOf(secret);
  const last = wanted.length - 1;
  if (last < 0) return () => [];
  // Knuth, Morris and Pratt: how much of the secret is still matched when the next byte is another.
  const shorter = [0];
  const advance = (matched: number, byte: number | undefined): number => {
    let length = matched;
    while (length > 0 && wanted[length] !== byte) length = shorter[length - 1] ?? 0;
    return wanted[length] === byte ? length + 1 : length;
  };
  for (let n = 1; n <= last; n++) shorter.push(advance(shorter[n - 1] ?? 0, wanted[n]));
  return ({ bytes, from, to }) => {
    const found: Range[] = [];
    let matched = 0;
    for (const [n, byte] of bytes.entries()) {
      matched = advance(matched, byte);
      if (matched <= last) continue;
      found.push({ start: from[n - last] ?? 0, end: to[n] ?? 0 });
      matched = 0;
    }
    return found;
  };
}

/** Replaces secrets in a text; where two overlap, the one that is listed first. */
export function replaceSecrets(text: string, secrets: readonly { find: Finder; by: string }[]): string {
  const plain = plainOf(text);
  const taken = new Uint8Array(text.length);
  const ranges: (Range & { by: string })[] = [];
  for (const { find, by } of secrets)
    for (const range of find(plain)) {
      if (taken.subarray(range.start, range.end).includes(1)) continue;
      taken.fill(1, range.start, range.end);
      ranges.push({ ...range, by });
    }
  ranges.sort((a, b) => a.start - b.start);
  let end = 0;
  const parts = ranges.map((range) => {
    const before = text.slice(end, range.start);
    end = range.end;
    return before + range.by;
  });
  return parts.join('') + text.slice(end);
}

/** Returns whether a text contains a secret, in any letter case and spelling. */
export const contains = (text: string, find: Finder): boolean => find(plainOf(text)).length > 0;
