import { newSpan, readTraceparent, writeTraceparent } from '../../src/contract/trace-context';
import { random } from '../../src/crypto/random';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

test.each([
  [`00-${TRACE}-${SPAN}-01`, true],
  [`00-${TRACE}-${SPAN}-00`, false],
  [`00-${TRACE}-${SPAN}-02`, false],
  [`cc-${TRACE}-${SPAN}-01`, true],
  [`cc-${TRACE}-${SPAN}-01-what the future brings`, true],
])('%s is taken over', (header, sampled) => {
  expect(readTraceparent(header)).toEqual({ traceId: TRACE, spanId: SPAN, sampled });
});

test.each([
  undefined,
  '',
  `ff-${TRACE}-${SPAN}-01`,
  `00-${'0'.repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-${SPAN}-01`,
  `00-${TRACE}-${SPAN}-01-more`,
  `00-${TRACE}-${SPAN}-1`,
  `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
])('%j is not', (header) => expect(readTraceparent(header)).toBeUndefined());

test('a child is in the trace of its parent, and one without a parent in a trace of its own', () => {
  const parent = { traceId: TRACE, spanId: SPAN, sampled: true };
  expect(writeTraceparent(newSpan(random, parent))).toMatch(new RegExp(`^00-${TRACE}-(?!${SPAN})[0-9a-f]{16}-01$`));
  const made = newSpan(random, undefined);
  expect(readTraceparent(writeTraceparent(made))).toEqual(made);
  expect(newSpan(random, undefined).traceId).not.toBe(made.traceId);
});
