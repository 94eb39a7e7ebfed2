import type { Report } from '../../conformance/check';

/** Evidence has at most this much of a response, in bytes. */
const MOST_BYTES = 2_048;

/** Returns a report whose evidence has the size that may be stored. */
export function bounded(report: Report): Report {
  const checks = report.checks.map((check) => {
    const { evidence } = check;
    if (evidence?.response === undefined) return check;
    return { ...check, evidence: { ...evidence, response: beginningOf(evidence.response) } };
  });
  return { ...report, checks };
}

/** Returns as many whole characters of a text as there is room for. */
function beginningOf(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MOST_BYTES) return text;
  let end = MOST_BYTES;
  // The bytes of a character after its first begin with the bits 10.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end).toString();
}
