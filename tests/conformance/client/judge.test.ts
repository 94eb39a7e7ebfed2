import { judge } from '../../../src/conformance/client/judge';
import type { ObservedAnswer, ObservedRequest } from '../../../src/conformance/client/observed';
import { TIMES } from '../../../src/conformance/client/times';

// What the matrix does not show: callers that do without an Idempotency-Key, callers that were mended, requests with codes of customers.

const START = Date.UTC(2026, 0, 1);
let count = 0;

/** A pair request that was sent after so many seconds and answered at once. */
function pair(afterS: number, answer: Partial<ObservedAnswer>, more: Partial<ObservedRequest> = {}): ObservedRequest {
  count += 1;
  const at = START + afterS * 1_000;
  return {
    requestId: `request-${count}`,
    at,
    operation: 'pair',
    protocol: 'ocpp2.0.1',
    uid: 'KIT-1',
    code: '000404',
    codeSentAs: 'string',
    token: 'header',
    isJson: true,
    keyHash: `key-${count}`,
    answer: { at, outcome: 'sent', ...answer },
    ...more,
  };
}
const unpair = (afterS: number, more: Partial<ObservedRequest> = {}): ObservedRequest => {
  const { code, codeSentAs, isJson, keyHash, protocol, ...request } = pair(afterS, { status: 200 });
  return { ...request, operation: 'unpair', uidEncoding: 'once', ...more };
};

const resultOf = (id: string, requests: readonly ObservedRequest[], afterS: number) =>
  judge(requests, START + afterS * 1_000).find((result) => result.id === id);
const verdictOf = (...args: Parameters<typeof resultOf>) => resultOf(...args)?.verdict;

test('without a request every check is not run and says what it needs', () => {
  for (const result of judge([], START))
    expect(result).toEqual(expect.objectContaining({ verdict: 'not_run', needs: expect.stringMatching(/.{10}/) }));
});

describe('a request that must not be repeated', () => {
  test('has a verdict when the caller was quiet for 10 s', () => {
    expect(verdictOf('client-404-final', [pair(0, { status: 404 })], 9.9)).toBe('not_run');
    expect(verdictOf('client-404-final', [pair(0, { status: 404 })], 10)).toBe('passed');
  });

  test('fails when it is repeated within 30 s, also after it had passed', () => {
    const requests = [pair(0, { status: 404 }), pair(29, { status: 404 })];
    expect(resultOf('client-404-final', requests, 30)).toEqual({
      id: 'client-404-final',
      title: 'A 404 on pair is not repeated',
      level: 'required',
      verdict: 'failed',
      clause: expect.any(String),
      operation: 'pairOcpp',
      last_seen_at: '2026-01-01T00:00:29.000Z',
      evidence: {
        request: 'pair KIT-1 000404 (ocpp2.0.1)',
        response: '404',
        note: expect.stringMatching(
          /^request request-\d+ at 2026-01-01T00:00:29.000Z: the request was repeated 29.00 s after/,
        ),
      },
      remedy: expect.any(String),
    });
  });

  test('may be sent again by a customer later, and the caller is judged by what it does then', () => {
    const bad = [pair(0, { status: 404 }), pair(1, { status: 404 })];
    expect(verdictOf('client-404-final', [...bad, pair(40, { status: 404 })], 60)).toBe('passed');
  });

  test('is not confused with another code of a customer for the same station', () => {
    const typed = (afterS: number) => pair(afterS, { status: 404 }, { code: undefined });
    expect(verdictOf('client-404-final', [typed(0), typed(5)], 60)).toBe('not_run');
  });

  test('may be paired again after an unpair', () => {
    const paired = { status: 200, hasNewMembers: true } as const;
    const code = { code: '100001' };
    const requests = [pair(0, paired, code), unpair(1), pair(2, paired, code), unpair(3)];
    expect(verdictOf('client-new-members', requests, 60)).toBe('passed');
  });
});

describe('a lost answer', () => {
  const lost = (key: string | undefined) => pair(0, { outcome: 'withheld' }, { code: '000504', keyHash: key });
  const next = (afterS: number, status: number, key: string | undefined) =>
    pair(afterS, { status }, { code: '000504', keyHash: key });
  const verdict = (requests: ObservedRequest[], afterS = 20) => verdictOf('client-lost-answer', requests, afterS);

  test('waits for the repetition for 60 s', () => {
    expect(verdict([lost('a')], 59)).toBe('not_run');
    expect(verdict([lost('a')], 61)).toBe('failed');
  });

  test('is settled by the list of stations', () =>
    expect(verdict([lost('a'), unpair(5, { operation: 'list' })])).toBe('passed'));

  test('is settled by a repetition with the same key', () =>
    expect(verdict([lost('a'), next(5, 200, 'a')])).toBe('passed'));

  test('is not settled by a repetition with another key, or with a key for the first time', () => {
    expect(verdict([lost('a'), next(5, 409, 'b')])).toBe('failed');
    expect(verdict([lost(undefined), next(5, 409, 'b')])).toBe('failed');
  });

  test('is settled without a key when the caller knows that the station is paired', () => {
    const requests = [lost(undefined), next(5, 409, undefined)];
    expect(verdict(requests)).toBe('not_run');
    expect(verdict([...requests, unpair(10)])).toBe('passed');
    expect(verdict(requests, 66)).toBe('failed');
    expect(verdict([...requests, next(6, 409, undefined)])).toBe('failed');
  });
});

test('an Idempotency-Key may come again with the same request, not with another', () => {
  const typed = (afterS: number, uid: string) => pair(afterS, { status: 503 }, { code: undefined, uid, keyHash: 'a' });
  expect(verdictOf('client-key-not-reused', [typed(0, 'KIT-1'), typed(2, 'KIT-1')], 60)).toBe('not_run');
  expect(verdictOf('client-key-not-reused', [typed(0, 'KIT-1'), typed(2, 'KIT-2')], 60)).toBe('failed');
});

test('a 429 passes when it is not repeated at all', () => {
  const request = pair(0, { status: 429, retryAfterS: 2 }, { code: '000429' });
  expect(verdictOf('client-retry-after-429', [request], 11)).toBe('not_run');
  expect(verdictOf('client-retry-after-429', [request], 12)).toBe('passed');
});

test('a 409 with Retry-After is no final answer', () => {
  const requests = [pair(0, { status: 409, retryAfterS: 1 }), pair(2, { status: 409, retryAfterS: 1 })];
  expect(verdictOf('client-409-final', requests, 60)).toBe('not_run');
});

test('every repetition has to honour Retry-After, by 50 ms', () => {
  const at = (...times: number[]) =>
    times.map((afterS) => pair(afterS, { status: 429, retryAfterS: 2 }, { code: '000429' }));
  expect(verdictOf('client-retry-after-429', at(0, 1.96), 60)).toBe('passed');
  expect(verdictOf('client-retry-after-429', at(0, 1.94), 60)).toBe('failed');
  expect(verdictOf('client-retry-after-429', at(0, 2, 3), 60)).toBe('failed');
});

test('a request of another operation does not show how the caller sends its token', () =>
  expect(verdictOf('client-token-in-header-only', [unpair(0, { operation: 'other', tokenAlsoIn: 'address' })], 1)).toBe(
    'not_run',
  ));

test('a 503 that is repeated without an Idempotency-Key is not repeated with the same', () => {
  const requests = [
    pair(0, { status: 503, retryAfterS: 1 }, { code: '000503', keyHash: undefined }),
    pair(2, { status: 200 }, { code: '000503', keyHash: undefined }),
  ];
  expect(verdictOf('client-503-repeated', requests, 60)).toBe('warning');
});

test('a 404 with another message is compared with one that has the message of the contract', () => {
  const other = { status: 404, hasOtherMessage: true } as const;
  const success = [
    pair(0, { status: 200, hasOtherMessage: true }, { code: '100002', uid: 'KIT-11' }),
    unpair(1, { uid: 'KIT-11' }),
  ];
  const repeated = [pair(2, other, { code: '000414', uid: 'KIT-3' }), pair(3, other, { code: '000414', uid: 'KIT-3' })];
  const usual = [pair(4, { status: 404 }), pair(5, { status: 404 })] as const;
  const result = (...more: ObservedRequest[]) =>
    resultOf('client-message-not-parsed', [...success, ...repeated, ...more], 60);
  expect(result()).toEqual(
    expect.objectContaining({ verdict: 'not_run', needs: 'a pair request with the code 000404' }),
  );
  expect(result(usual[0])?.verdict).toBe('failed');
  expect(result(...usual)?.verdict).toBe('passed');
});

test('a request with another token is judged by its token only, and forgotten when it is right', () => {
  const wrong = unpair(0, { token: 'unknown', uid: 'KIT-1', uidEncoding: 'none' });
  const verdicts = judge([wrong], START + 60_000).filter(({ verdict }) => verdict !== 'not_run');
  expect(verdicts.map(({ id, verdict }) => [id, verdict])).toEqual([['client-token-in-header-only', 'failed']]);
  expect(verdictOf('client-token-in-header-only', [wrong, unpair(5)], 60)).toBe('passed');
});

test('a mistake in a request is forgotten when the same request is right', () => {
  const wrong = pair(0, { status: 404 }, { errors: [{ pointer: '/charging_station/evses', message: 'is required' }] });
  expect(resultOf('client-body-valid', [wrong], 1)).toEqual(
    expect.objectContaining({
      verdict: 'failed',
      evidence: expect.objectContaining({ note: expect.stringMatching(/: \/charging_station\/evses is required$/) }),
    }),
  );
  expect(verdictOf('client-body-valid', [wrong, pair(50, { status: 404 })], 60)).toBe('passed');
});

test('the slow answer is one that takes as long as the kit lets it', () => {
  expect(TIMES.slowMs).toBe(9_000);
  const slow = (outcome: ObservedAnswer['outcome'], delayMs: number) =>
    verdictOf('client-waits-10-s', [pair(0, { outcome, delayMs }, { code: '000200' })], 10);
  expect(slow('sent', 9_000)).toBe('passed');
  expect(slow('too late', 9_000)).toBe('failed');
  expect(slow('sent', 100)).toBe('not_run');
  expect(slow('withheld', 20_000)).toBe('not_run');
});
