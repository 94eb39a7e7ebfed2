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
function startJob(more: Pick<Parameters<typeof startPeriodic>[0], 'retryMs' | 'wakeOn'> = {}) {
  const stopping = new AbortController();
  const log = recordedLog();
  const runs: { end(): void; fail(): void }[] = [];
  const work = () =>
    new Promise<void>((resolve, reject) => runs.push({ end: resolve, fail: () => reject(new Error('away')) }));
  const job = startPeriodic(
    { name: 'a job', everyMs: EVERY_MS, log: log.log, stopping: stopping.signal, ...more },
    work,
  );
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

test('a failed run is repeated sooner if the job says so, and others are not', async () => {
  const { runs, pass } = startJob({ retryMs: EVERY_MS / 10 });
  await pass(EVERY_MS);
  runs[0]?.fail();
  await pass(EVERY_MS / 10);
  expect(runs).toHaveLength(2);
  runs[1]?.end();
  await pass(EVERY_MS / 2);
  expect(runs).toHaveLength(2);
});

test('it is woken by what it subscribes to, until it is stopped', async () => {
  const wakes = new Set<() => void>();
  const wakeOn = (wake: () => void) => {
    wakes.add(wake);
    return [() => wakes.delete(wake)];
  };
  const { job, runs, pass } = startJob({ wakeOn });
  for (const wake of wakes) wake();
  await pass(0);
  expect(runs).toHaveLength(1);
  runs[0]?.end();
  await job.stop();
  expect(wakes.size).toBe(0);
});
