/** Dates before a time, as in ISO 8601 and RFC 9110. Their digits could be those of a code: 202612 in 2026-12-01T14:06:43Z. */
const DATE = /\b\d{4}-\d\d-\d\d(?=[T ]\d\d:\d\d)|\b\d\d [A-Z][a-z]{2} \d{4}(?= \d\d:\d\d:\d\d GMT)/g;
const isCode = (secret: string) => /^\d{4,18}$/.test(secret);

/**
 * The secrets that stand in a text. A code is looked for as a number of its own, with a space or dash between its digits
 * or not: six digits in the middle of a UUID, a hash or a date are none. Anything else is looked for anywhere, and both as bytes
 * in hexadecimal.
 */
export function leaks(text: string, secrets: Iterable<string>): string[] {
  const undated = text.replace(DATE, 'DATE');
  const numbers = new Set<string>();
  for (const pattern of [/(?<![\w.])\d{4,18}(?!\w)/g, /(?<![\w.])\d(?:[ -]?\d){3,17}(?!\w)/g])
    for (const [found] of undated.matchAll(pattern)) numbers.add(found.replace(/[ -]/g, ''));
  const stands = (secret: string) => (isCode(secret) ? numbers.has(secret) : text.includes(secret));
  return [...secrets].filter((secret) => stands(secret) || text.includes(Buffer.from(secret).toString('hex')));
}
