import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { projectFile } from '../../src/contract/document';
import { program } from './programs';

const run = promisify(execFile);
const text = readFileSync(projectFile('docs/backup.md'), 'utf8');

/** The script of docs/backup.md that contains these words. */
function scriptWith(words: string): string {
  const scripts = [...text.matchAll(/^( *)```sh\n([\s\S]*?)^ *```/gm)].map(([, indent = '', script = '']) =>
    script.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );
  const found = scripts.filter((script) => script.includes(words));
  if (found.length !== 1) throw new Error(`docs/backup.md has ${found.length} scripts with ${words}`);
  return found[0] ?? '';
}

/** Runs that script as it stands, with these variables and the programs of Debian's PostgreSQL. */
export async function runDocumented(
  words: string,
  env: Record<string, string>,
  options: { cwd: string; uid?: number; gid?: number },
): Promise<void> {
  const script = scriptWith(words).replaceAll('npx --no scsp', `${process.execPath} ${projectFile('dist/src/cli.js')}`);
  const PATH = `${dirname(program('pg_dump'))}:${process.env.PATH}`;
  await run('sh', ['-e', '-c', script], { ...options, env: { PATH, LC_ALL: 'C.UTF-8', ...env } });
}
