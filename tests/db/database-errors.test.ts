import { DatabaseError } from 'pg';
import { QueryFailedError } from 'typeorm';
import { reasonOf, sqlStateOf } from '../../src/db/errors';
import { onFailure, rows, transaction } from '../../src/db/query';
import { Problem } from '../../src/problems';
import { type Harness, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

/** What comes of a statement for which the driver throws this, as it is and as TypeORM wraps it. */
async function comesOf(thrown: Error): Promise<unknown[]> {
  const errors = [thrown, new QueryFailedError('select 1', [], thrown)];
  return Promise.all(
    errors.map((error) => rows({ query: () => Promise.reject(error) }, 'select 1').catch((caught: unknown) => caught)),
  );
}

const system = (code: string) => Object.assign(new Error(`write ${code}`), { code, syscall: 'write' });
const fromPostgres = (code: string) => Object.assign(new DatabaseError('said PostgreSQL', 10, 'error'), { code });

test.each([
  ...['EPIPE', 'EPERM', 'EBADF', 'ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT'].map((code) => system(code)),
  new AggregateError([system('ECONNREFUSED'), system('ECONNREFUSED')], ''),
  new Error('Query read timeout'),
  new Error('timeout exceeded when trying to connect'),
  new Error('Connection terminated unexpectedly'),
  ...['08006', '53300', '57014', '57P01', '40P01', '55P03', '25006'].map(fromPostgres),
])('%s: the database is away, 503', async (thrown) => {
  for (const caught of await comesOf(thrown)) {
    expect(caught).toBeInstanceOf(Problem);
    expect(caught).toMatchObject({ type: 'unavailable', status: 503 });
  }
});

test.each([
  new TypeError('x is not a function'),
  new RangeError('Invalid array length'),
  new ReferenceError('x is not defined'),
  new SyntaxError('Unexpected token'),
  ...['42601', '23505', '22021', '42P01'].map(fromPostgres),
])('%s: a defect or an answer to the statement, not an outage', async (thrown) => {
  for (const caught of await comesOf(thrown)) expect(caught).not.toBeInstanceOf(Problem);
});

test.each([
  [
    'unreachable',
    [...['ECONNREFUSED', 'EPIPE'].map(system), ...['08006', '53300', '57P01', '28P01', '3D000'].map(fromPostgres)],
  ],
  ['timeout', [new Error('Query read timeout'), ...['57014', '55P03'].map(fromPostgres)]],
  ['disk_full', [fromPostgres('53100')]],
  ['read_only', [fromPostgres('25006')]],
  ['other', [new Error('committed, but not confirmed by the standby'), ...['40P01', '53200'].map(fromPostgres)]],
])('the reason %s is given to its errors, as they are and as TypeORM wraps them', (reason, errors) => {
  for (const error of errors)
    expect([error, new QueryFailedError('select 1', [], error)].map(reasonOf)).toEqual([reason, reason]);
});

test('a failure is reported once, that of a transaction as a whole, and one that a retry mends not at all', async () => {
  const reported: string[] = [];
  onFailure(service.db, (reason) => reported.push(reason));
  const cancelled = `do $$ begin raise sqlstate '57014'; end $$`;
  await expect(rows(service.db, cancelled)).rejects.toMatchObject({ type: 'unavailable' });
  expect(reported).toEqual(['timeout']);
  await expect(transaction(service.db, (tx) => rows(tx, cancelled))).rejects.toMatchObject({ type: 'unavailable' });
  expect(reported).toEqual(['timeout', 'timeout']);
  let attempts = 0;
  await transaction(service.db, async (tx) => {
    attempts += 1;
    await rows(tx, attempts === 1 ? `do $$ begin raise sqlstate '40001'; end $$` : 'select 1');
  });
  await expect(rows(service.db, 'select 1 / 0')).rejects.not.toBeInstanceOf(Problem);
  expect([attempts, reported]).toEqual([2, ['timeout', 'timeout']]);
});

test('only PostgreSQL reports an SQLSTATE', () => {
  expect(sqlStateOf(system('EPIPE'))).toBeUndefined();
  expect(sqlStateOf(fromPostgres('40001'))).toBe('40001');
  expect(sqlStateOf(new QueryFailedError('select 1', [], fromPostgres('40001')))).toBe('40001');
});

test('what a transaction throws of its own comes out as it is', async () => {
  const thrown = new TypeError('a defect');
  const caught = await transaction(service.db, () => Promise.reject(thrown)).catch((error: unknown) => error);
  expect(caught).toBe(thrown);
});

test('a defect is a 500, and logged as an error', async () => {
  service.log.provokeInternalErrors();
  const query = service.db.query;
  expect(query).toBeInstanceOf(Function);
  // Of the probe alone: jobs of the service ask the database, too.
  const spied = jest.spyOn(Object.getPrototypeOf(service.db), 'query').mockImplementation(function (
    this: unknown,
    ...parts: unknown[]
  ) {
    return parts[0] === 'select 1' ? Promise.reject(new TypeError('a defect')) : Reflect.apply(query, this, parts);
  });
  const answer = await service.request('GET', '/ready');
  spied.mockRestore();
  expect([answer.status, answer.body.type]).toEqual([500, '/problems/internal-error']);
  await service.log.waitFor(({ level, message }) => level === 'error' && message === 'internal error');
});
