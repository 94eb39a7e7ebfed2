import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { endLater } from './clean-up';

/** Runs a program to its end, with these settings and no others, and this on standard input. */
export async function runProgram(file: string, args: readonly string[], env: Record<string, string>, input = '') {
  const child = spawn(file, args, { env: { PATH: process.env.PATH ?? '', ...env } });
  endLater(() => child.kill('SIGKILL'));
  child.stdin.end(input);
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text) => {
      said[name] += text;
    });
  const [code] = await once(child, 'close');
  return { code, ...said };
}
