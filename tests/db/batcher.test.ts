import { Batcher } from '../../src/db/batcher';
import { Problem } from '../../src/problems';

/** Work that a test finishes by hand: what was asked for, and how each ends. */
function byHand(maxBatchSize = 2, gatherMs?: number) {
  const asked: { set: readonly string[]; done(outputs: string[]): void; failed(error: Error): void }[] = [];
  let wake = () => {};
  const work = (set: readonly string[]) =>
    new Promise<string[]>((done, failed) => {
      asked.push({ set, done, failed });
      wake();
    });
  const batcher = new Batcher<string, string>({
    work,
    maxBatchSize,
    ...(gatherMs !== undefined && { gatherMs }),
    failsAll: (error) => error instanceof RangeError,
  });
  const add = (input: string, key = 'cpo', { startIn = 60_000, answerIn = 60_000 } = {}) => {
    const now = performance.now();
    return batcher.add(key, input, { startBy: now + startIn, answerBy: now + answerIn });
  };
  /** The set that is asked for as the n-th, once it is. */
  const set = async (n: number) => {
    while (asked[n] === undefined)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    return asked[n];
  };
  return { batcher, add, asked, set };
}

const outcome = (promise: Promise<string>) =>
  promise.catch((error: Error) => (error instanceof Problem ? error.type : error.message));

test('a lone request waits for nothing; what arrives meanwhile shares the next sets, in order', async () => {
  const { add, asked, set } = byHand();
  const answers = [...'abcd'].map((one) => add(one));
  expect(asked.map((one) => one.set)).toEqual([['a']]);
  (await set(0)).done(['A']);
  expect((await set(1)).set).toEqual(['b', 'c']);
  (await set(1)).done(['B', 'C']);
  expect((await set(2)).set).toEqual(['d']);
  (await set(2)).done(['D']);
  expect(await Promise.all(answers)).toEqual(['A', 'B', 'C', 'D']);
});

test('the requests that wait for a set are counted, those of the set that runs are not', async () => {
  const { batcher, add, set } = byHand();
  const answers = [...'abcd'].map((one) => add(one));
  expect(batcher.queued).toBe(3);
  (await set(0)).done(['A']);
  await set(1);
  expect(batcher.queued).toBe(1);
  (await set(1)).done(['B', 'C']);
  (await set(2)).done(['D']);
  await Promise.all(answers);
  expect(batcher.queued).toBe(0);
});

test('with a time to gather, what comes within it shares a set, the first request too', async () => {
  const { add, asked, set } = byHand(4, 1);
  const answers = [...'abc'].map((one) => add(one));
  expect(asked).toEqual([]);
  expect((await set(0)).set).toEqual(['a', 'b', 'c']);
  (await set(0)).done(['A', 'B', 'C']);
  expect(await Promise.all(answers)).toEqual(['A', 'B', 'C']);
  const later = ['d', 'e'].map((one) => add(one));
  expect((await set(1)).set).toEqual(['d', 'e']);
  (await set(1)).done(['D', 'E']);
  expect(await Promise.all(later)).toEqual(['D', 'E']);
});

test('keys take turns: one with many requests delays no other', async () => {
  const { add, set } = byHand(3);
  const answers = ['a1', 'a2', 'a3', 'a4', 'a5'].map((one) => add(one, 'a'));
  answers.push(add('b1', 'b'), add('c1', 'c'));
  (await set(0)).done(['A1']);
  expect((await set(1)).set).toEqual(['a2', 'b1', 'c1']);
  (await set(1)).done(['A2', 'B1', 'C1']);
  expect((await set(2)).set).toEqual(['a3', 'a4', 'a5']);
  (await set(2)).done(['A3', 'A4', 'A5']);
  expect(await Promise.all(answers)).toEqual(['A1', 'A2', 'A3', 'A4', 'A5', 'B1', 'C1']);
});

test('the next set is asked for before the answers to the last are given', async () => {
  const { add, set } = byHand();
  const order: string[] = [];
  const first = add('a').then(() => order.push('answered'));
  const second = add('b');
  (await set(0)).done(['A']);
  await set(1).then(() => order.push('asked'));
  await first;
  expect(order).toEqual(['asked', 'answered']);
  (await set(1)).done(['B']);
  await second;
});

test('a set that fails is done again one by one, and only those who fail again are refused', async () => {
  const { add, set } = byHand(3);
  const answers = [...'abcd'].map((one) => outcome(add(one)));
  (await set(0)).done(['A']);
  (await set(1)).failed(new Error('the set'));
  (await set(2)).done(['B']);
  expect(await answers[1]).toBe('B');
  (await set(3)).failed(new Error('c alone'));
  (await set(4)).done(['D']);
  expect(await Promise.all(answers)).toEqual(['A', 'B', 'c alone', 'D']);
});

test('work that gives another number of results than it was asked for has failed', async () => {
  const { add, set } = byHand();
  const answer = outcome(add('a'));
  (await set(0)).done([]);
  expect(await answer).toMatch('1 requests got 0 results');
});

test.each([
  ['at once', []],
  ['while a set is done one by one', [new Error('the set')]],
])('an error that concerns everybody refuses the set and all who wait, %s', async (_when, before) => {
  const { add, asked, set } = byHand(3);
  const answers = [...'abcde'].map((one) => outcome(add(one)));
  (await set(0)).done(['A']);
  for (const [n, error] of before.entries()) (await set(1 + n)).failed(error);
  (await set(1 + before.length)).failed(new RangeError('gone'));
  expect(await Promise.all(answers)).toEqual(['A', 'gone', 'gone', 'gone', 'gone']);
  expect(asked).toHaveLength(2 + before.length);

  const after = add('f');
  (await set(2 + before.length)).done(['F']);
  expect(await after).toBe('F');
});

test('a request that has not begun in time is refused and not done any more', async () => {
  const { add, asked, set } = byHand();
  const first = add('a');
  const late = outcome(add('b', 'cpo', { startIn: -1 }));
  const next = add('c');
  (await set(0)).done(['A']);
  expect((await set(1)).set).toEqual(['c']);
  expect(await late).toBe('unavailable');
  (await set(1)).done(['C']);
  expect(await Promise.all([first, next])).toEqual(['A', 'C']);
  expect(asked).toHaveLength(2);
});

test('a request without a result in time is refused, though the work goes on', async () => {
  const { add, set } = byHand();
  expect(await outcome(add('a', 'cpo', { answerIn: 5 }))).toBe('unavailable');
  const next = add('b');
  (await set(0)).done(['A']);
  (await set(1)).done(['B']);
  expect(await next).toBe('B');
});

test('the queue has a bound', async () => {
  const { add, set } = byHand(2_000);
  const all = [add('first'), ...Array.from({ length: 1_025 }, (_, i) => outcome(add(String(i))))];
  expect(await all.at(-1)).toBe('unavailable');
  (await set(0)).done(['FIRST']);
  const { set: waiting, done } = await set(1);
  expect(waiting).toHaveLength(1_024);
  done(waiting.map((one) => one.toUpperCase()));
  expect(await all[1_024]).toBe('1023');
});
