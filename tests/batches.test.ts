import { Batches } from '../src/db/batches';

/** Work that a test finishes by hand: what was asked for, and how each ends. */
function byHand(largest = 2) {
  const asked: { key: string; set: readonly string[]; done(outputs: string[]): void; failed(error: Error): void }[] =
    [];
  let wake = () => {};
  const work = (key: string, set: readonly string[]) =>
    new Promise<string[]>((done, failed) => {
      asked.push({ key, set, done, failed });
      wake();
    });
  const batches = new Batches<string, string>(work, largest, (error) => error instanceof RangeError);
  /** The set that is asked for as the n-th, once it is. */
  const set = async (n: number) => {
    while (asked[n] === undefined)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    return asked[n];
  };
  return { batches, asked, set };
}

const told = (promise: Promise<string>) => promise.catch((error: Error) => error.message);

test('a lone request waits for nothing; what arrives meanwhile shares the next sets, in order', async () => {
  const { batches, asked, set } = byHand();
  const answers = [...'abcd'].map((one) => batches.add('cpo', one));
  expect(asked.map((one) => one.set)).toEqual([['a']]);
  (await set(0)).done(['A']);
  expect((await set(1)).set).toEqual(['b', 'c']);
  (await set(1)).done(['B', 'C']);
  expect((await set(2)).set).toEqual(['d']);
  (await set(2)).done(['D']);
  expect(await Promise.all(answers)).toEqual(['A', 'B', 'C', 'D']);
});

test('keys do not wait for each other', async () => {
  const { batches, asked } = byHand();
  void batches.add('one', 'a');
  void batches.add('other', 'b');
  expect(asked.map(({ key }) => key)).toEqual(['one', 'other']);
});

test('the next set is asked for before the answers to the last are given', async () => {
  const { batches, set } = byHand();
  const order: string[] = [];
  const first = batches.add('cpo', 'a').then(() => order.push('answered'));
  void batches.add('cpo', 'b');
  (await set(0)).done(['A']);
  await set(1).then(() => order.push('asked'));
  await first;
  expect(order).toEqual(['asked', 'answered']);
});

test('a set that fails is done again one by one, and only those who fail again are told so', async () => {
  const { batches, set } = byHand(3);
  const answers = [...'abcd'].map((one) => told(batches.add('cpo', one)));
  (await set(0)).done(['A']);
  (await set(1)).failed(new Error('the set'));
  (await set(2)).done(['B']);
  expect(await answers[1]).toBe('B');
  (await set(3)).failed(new Error('c alone'));
  (await set(4)).done(['D']);
  expect(await Promise.all(answers)).toEqual(['A', 'B', 'c alone', 'D']);
});

test('work that gives another number of results than it was asked for has failed', async () => {
  const { batches, set } = byHand();
  const answer = told(batches.add('cpo', 'a'));
  (await set(0)).done([]);
  expect(await answer).toMatch('1 requests got 0 results');
});

test.each([
  ['at once', []],
  ['while it is done one by one', [new Error('the set')]],
])('an error that is nobody’s own is told to the set and to all who wait, %s', async (_when, before) => {
  const { batches, asked, set } = byHand(3);
  const answers = [...'abcde'].map((one) => told(batches.add('cpo', one)));
  (await set(0)).done(['A']);
  for (const [n, error] of before.entries()) (await set(1 + n)).failed(error);
  (await set(1 + before.length)).failed(new RangeError('gone'));
  expect(await Promise.all(answers)).toEqual(['A', 'gone', 'gone', 'gone', 'gone']);
  expect(asked).toHaveLength(2 + before.length);

  const after = batches.add('cpo', 'f');
  (await set(2 + before.length)).done(['F']);
  expect(await after).toBe('F');
});
