import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectFile } from '../../src/contract/document';

const run = promisify(execFile);

export type Release = { readonly version: string; readonly commit: string };

/**
 * Builds a release from its commit in a temporary folder, which the caller deletes.
 * @throws Error if this clone does not have the commit
 */
export async function checkOutAndBuild({ version, commit }: Release): Promise<string> {
  const cwd = projectFile('.');
  await run('git', ['cat-file', '-e', `${commit}^{commit}`], { cwd }).catch((cause: Error) => {
    const remedy = 'clone the whole history, or run "git fetch --unshallow"';
    throw new Error(`the commit of ${version} (${commit}) is missing here: ${remedy}: ${cause.message}`);
  });
  const folder = mkdtempSync(join(tmpdir(), `scsp-${version}-`));
  const archive = join(folder, 'sources.tar');
  await run('git', ['archive', '--output', archive, commit], { cwd });
  await run('tar', ['--extract', '--file', archive, '--directory', folder]);

  // The installed packages serve if they are those of the release: package.json names exact versions.
  const dependencies = (root: string): Record<string, string> =>
    JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies;
  const installed = dependencies(cwd);
  if (Object.entries(dependencies(folder)).every(([name, version]) => installed[name] === version))
    symlinkSync(projectFile('node_modules'), join(folder, 'node_modules'));
  else await run('npm', ['ci', '--omit=dev', '--omit=optional', '--ignore-scripts'], { cwd: folder });
  await run('npm', ['run', 'build'], { cwd: folder });
  return folder;
}
