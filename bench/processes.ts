import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadResult } from './load';

export const CONNECTIONS = 32;

/** CPU time of a process's live threads, µs: the scheduler's own count, because a round is short for clock ticks. */
export function cpuOf(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [ran] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
    nanoseconds += Number(ran);
  }
  return nanoseconds / 1000;
}

/** CPU time of a postmaster and its processes by their ids, µs. */
export function cpuOfPostgres(postmaster: number): Map<number, number> {
  const used = new Map([[postmaster, cpuOf(postmaster)]]);
  for (const pid of readdirSync('/proc').map(Number).filter(Boolean)) {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      if (Number(fields[1]) === postmaster) used.set(pid, cpuOf(pid));
    } catch {
      // Gone in the meantime.
    }
  }
  return used;
}

/** What the processes that are there now have used since; those that have ended in the meantime are left out. */
export function cpuSince(before: ReadonlyMap<number, number>, now: ReadonlyMap<number, number>): number {
  return [...now].reduce((sum, [pid, used]) => sum + used - (before.get(pid) ?? 0), 0);
}

export const percentile = (values: readonly number[], p: number) =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * p)] ?? 0;

export const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** A request as it goes over the wire, in base64. */
export function wire(method: string, path: string, token: string, body?: object): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const head = [
    `${method} ${path} HTTP/1.1`,
    'Host: localhost',
    `Authorization: Bearer ${token}`,
    ...(body === undefined ? [] : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(text)}`]),
    '',
    text,
  ].join('\r\n');
  return Buffer.from(head).toString('base64');
}

/** Sends requests from a process of their own. */
export async function send(
  folder: string,
  port: number,
  requests: string[],
  { rate, connections = CONNECTIONS }: { rate?: number | undefined; connections?: number } = {},
): Promise<LoadResult> {
  const file = join(folder, `requests-${port}`);
  writeFileSync(file, requests.join('\n'));
  const job = JSON.stringify({ port, connections, file, rate });
  const child = spawn(process.execPath, [join(__dirname, 'load.js'), job], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  return JSON.parse(output);
}

/** Starts a script, and waits until it has said that it is ready. */
export async function launch(script: string, env: Record<string, string>, ready: RegExp): Promise<ChildProcess> {
  const child = spawn(process.execPath, [script], {
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      if (ready.test(said)) return;
      said += chunk;
      if (ready.test(said)) resolve();
    });
    child.on('close', () => reject(new Error(`${script} ended`)));
  });
  return child;
}
