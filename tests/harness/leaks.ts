const isCode = (secret: string) => /^\d{4,18}$/.test(secret);

/**
 * The secrets that stand in a text. A code is looked for as a number of its own, with a space or dash between its digits
 * or not: six digits in the middle of a UUID or a hash are none. Anything else is looked for anywhere, and both as bytes
 * in hexadecimal.
 */
export function leaks(text: string, secrets: Iterable<string>): string[] {
  const numbers = new Set<string>();
  for (const pattern of [/(?<![\w.])\d{4,18}(?!\w)/g, /(?<![\w.])\d(?:[ -]?\d){3,17}(?!\w)/g])
    for (const [found] of text.matchAll(pattern)) numbers.add(found.replace(/[ -]/g, ''));
  const stands = (secret: string) => (isCode(secret) ? numbers.has(secret) : text.includes(secret));
  return [...secrets].filter((secret) => stands(secret) || text.includes(Buffer.from(secret).toString('hex')));
}
