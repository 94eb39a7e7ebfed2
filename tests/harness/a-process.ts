import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { projectFile } from '../../src/contract/document';
import { endLater } from './clean-up';

/**
 * The built service as a process of its own.
 * @param within a command that runs another, with its arguments
 * @param build the folder of the build, of this version unless told otherwise
 */
export function launch(
  env: Record<string, string>,
  { within = [] as string[], cwd = process.cwd(), build = projectFile('dist') } = {},
) {
  const [file = '', ...args] = [...within, process.execPath, join(build, 'src/main.js')];
  const child: ChildProcess = spawn(file, args, {
    cwd,
    env: { PATH: process.env.PATH ?? '', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endLater(() => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  const listeners = new Set<() => void>();
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
    for (const listener of listeners) listener();
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const exited = once(child, 'close').then(([code]) => code as number | null);
  const said = (wanted: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const found = wanted.exec(stdout);
        if (found === null) return;
        listeners.delete(look);
        resolve(found);
      };
      listeners.add(look);
      void exited.then(() => reject(new Error(`ended without saying ${wanted}: ${stdout}${stderr}`)));
      look();
    });
  return {
    child,
    exited,
    said,
    output: () => ({ stdout, stderr }),
    url: async () => (await said(/"message":"listening".*"url":"([^"]+)"/))[1] ?? '',
  };
}
