import { startPeriodic } from '../../src/delivery/periodic';
import { recordedLog } from '../harness/harness';

const EVERY_MS = 1_000;
beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** A job whose runs a test ends one after the other. */
function startJob() {
  const stopping = new AbortController();
  const log = recordedLog();
  const runs: { end(): void; fail(): void }[] = [];
  const work = () =>
    new Promise<void>((resolve, reject) => runs.push({ end: resolve, fail: () => reject(new Error('away')) }));
  const job = startPeriodic({ name: 'a job', everyMs: EVERY_MS, log: log.log, stopping: stopping.signal }, work);
  const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);
  return { job, runs, stopping, log, pass };
}

test('it runs again and again, one run at a time', async () => {
  const { runs, pass } = startJob();
  await pass(EVERY_MS);
  await pass(5 * EVERY_MS);
  expect(runs).toHaveLength(1);
  runs[0]?.end();
  await pass(EVERY_MS);
  expect(runs).toHaveLength(2);
});

test('a wake runs it at once, and once more when it comes during a run', async () => {
  const { job, runs, pass } = startJob();
  job.wake();
  expect(runs).toHaveLength(1);
  job.wake();
  job.wake();
  runs[0]?.end();
  await pass(0);
  expect(runs).toHaveLength(2);
  runs[1]?.end();
  await pass(EVERY_MS - 1);
  expect(runs).toHaveLength(2);
});

test('a stop waits for the run in progress and is for good, whatever wakes it', async () => {
  const { job, runs, pass } = startJob();
  job.wake();
  job.wake();
  const stopped = job.stop();
  runs[0]?.end();
  await stopped;
  job.wake();
  await pass(5 * EVERY_MS);
  expect(runs).toHaveLength(1);
});

test('nothing runs any more when the service stops', async () => {
  const { job, runs, stopping, pass } = startJob();
  stopping.abort();
  job.wake();
  await pass(5 * EVERY_MS);
  expect(runs).toEqual([]);
});

test('consecutive failures are logged once', async () => {
  const { runs, log, pass } = startJob();
  for (const outcome of ['fail', 'fail', 'end', 'fail'] as const) {
    await pass(EVERY_MS);
    runs.at(-1)?.[outcome]();
    await pass(0);
  }
  const warnings = log.lines.filter(({ message }) => message === 'a job failed, retrying');
  expect(warnings.map(({ level }) => level)).toEqual(['warn', 'warn']);
});
