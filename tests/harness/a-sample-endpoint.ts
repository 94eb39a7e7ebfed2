import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectFile } from '../../src/contract/document';
import { endLater } from './clean-up';

export const hasPython = spawnSync('python3', ['--version']).status === 0;
if (!hasPython) console.warn('There is no python3: docs/examples/endpoint.py is not tried.');

/** Starts docs/examples/endpoint.py as a developer would, and returns what it says. */
export async function startSampleEndpoint(token: string, cpoId = '') {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-endpoint-'));
  const codesFile = join(folder, 'codes.json');
  const child = spawn('python3', [projectFile('docs/examples/endpoint.py'), '0', codesFile], {
    env: { PATH: process.env.PATH ?? '', ENDPOINT_TOKEN: token, CPO_ID: cpoId },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  endLater(async () => {
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
    rmSync(folder, { recursive: true });
  });
  let said = '';
  for await (const text of child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    said += text;
    const [, url, code] = /^(http:\S+) has issued the code (\d+)\n/m.exec(said) ?? [];
    if (url !== undefined && code !== undefined) {
      child.stdout.on('data', (more) => {
        said += more;
      });
      return { url, code, codesFile, said: () => said };
    }
  }
  throw new Error(`the endpoint ended: ${said}`);
}
