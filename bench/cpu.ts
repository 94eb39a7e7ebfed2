import { readdirSync, readFileSync } from 'node:fs';

/** Of the clock in `/proc/PID/stat`; Linux shows programs 100 on every architecture that matters here. */
const TICKS_PER_SECOND = 100;

/** Returns the CPU time of a process's live threads in µs, from the scheduler: clock ticks are too coarse for a round. */
export function cpuOfProcess(pid: number): number {
  const threads = attempt(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  const nanoseconds = threads.map((thread) => Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]));
  return nanoseconds.reduce((sum, one) => sum + one, 0) / 1000;
}

/** Returns the CPU time of a postmaster and all its processes in µs, including those that have ended. */
export function cpuOfPostgres(postmaster: number): number {
  const pids = readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid === postmaster || statOf(pid)[1] === postmaster);
  const live = pids.reduce((sum, pid) => sum + cpuOfProcess(pid), 0);
  const [userTicks = 0, systemTicks = 0] = statOf(postmaster).slice(13, 15);
  return live + ((userTicks + systemTicks) * 1e6) / TICKS_PER_SECOND;
}

/** Returns the fields of `/proc/PID/stat` after the name: state, parent, …; the CPU time of ended children is 13 and 14. */
const statOf = (pid: number) => (read(`/proc/${pid}/stat`).split(') ')[1] ?? '').split(' ').map(Number);
const read = (path: string) => attempt(() => readFileSync(path, 'utf8')) ?? '';

/** A process may end between being listed and being read. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
