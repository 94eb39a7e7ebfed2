/**
 * The test codes of a sandbox deployment (contract, section 10), in both directions: what this service answers to a pair request,
 * and what the sandbox CPO answers when it is asked to redeem the code. docs/sandbox.md lists them.
 */

/** What a test code makes this service answer. */
export type TestAnswer = 'pairs' | 'pairs, with another message' | 'pairs, with new members' | keyof typeof ANSWERS;

/** The codes that pair as their neighbours do, but whose answer shows what a caller must not depend on. */
const UNUSUAL: ReadonlyMap<string, TestAnswer> = new Map([
  ['100001', 'pairs, with new members'],
  ['100002', 'pairs, with another message'],
]);

/** The codes that this service answers always alike, or pairs whether or not they were used before. */
const ANSWERS = {
  '000200': 'pairs, and answers 9 s later',
  '000307': 'redirects',
  '000400': 'answers 400 with an example of errors',
  '000404': 'answers 404',
  '000409': 'answers 409',
  '000414': 'answers 404 with another message',
  '000429': 'answers 429 with Retry-After: 2',
  '000500': 'answers 500',
  '000503': 'answers 503 with Retry-After: 1 the first time for a uid, then pairs',
  '000504': 'pairs, withholds the answer for 20 s and closes the connection',
} as const;

/** Lists the test codes with what they do: the first and, of a range, the last. */
export function testCodes(): (readonly [from: string, to: string | undefined, what: string])[] {
  const single = Object.entries(ANSWERS).map(([code, what]) => [code, undefined, what] as const);
  return [['100000', '199999', 'pairs; used up until the station is unpaired'], ...single];
}

/** Delays of answers, in ms. Tests replace them. */
export type TestTimes = { readonly lateMs: number; readonly withheldMs: number };
export const TEST_TIMES: TestTimes = { lateMs: 9_000, withheldMs: 20_000 };

/** Returns what a normalised code makes this service answer, or undefined if it is not a test code. */
export function testAnswerOf(code: string): TestAnswer | undefined {
  if (/^1\d{5}$/.test(code)) return UNUSUAL.get(code) ?? 'pairs';
  return isAnswer(code) ? code : undefined;
}

const isAnswer = (code: string): code is keyof typeof ANSWERS => Object.hasOwn(ANSWERS, code);

/** Returns whether a code is never issued in a sandbox deployment, because it has or may get a meaning as a test code. */
export function isReserved(code: string): boolean {
  return /^(1\d{5}|000\d{3}|012345)$/.test(code);
}
