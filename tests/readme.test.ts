import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectFile } from '../src/contract/document';
import { scenarios } from '../src/sandbox/scenarios';

const readme = readFileSync(projectFile('README.md'), 'utf8');

test('the script of the README goes through the whole life, twice', async () => {
  const script = /```sh\n(get\(\)[\s\S]*?)```/.exec(readme)?.[1] ?? '';
  const folder = mkdtempSync(join(tmpdir(), 'scsp-readme-'));
  const service = spawn(process.execPath, [projectFile('dist/src/main.js')], {
    env: { PATH: process.env.PATH ?? '', PORT: '0', DATA_DIR: join(folder, '.data') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  await new Promise<void>((resolve) => {
    service.stdout.on('data', (chunk) => {
      said += chunk;
      if (said.includes('Stop: Ctrl-C')) resolve();
    });
  });
  const backend = /Backend of the CPO: (\S+)/.exec(said)?.[1] ?? '';
  for (let round = 0; round < 2; round++) {
    const shell = spawn('sh', ['-c', script.replace('http://localhost:3001', backend)], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    shell.stdout.on('data', (chunk) => {
      output += chunk;
    });
    await once(shell, 'close');
    const words = [
      '"status":"active"',
      'Charging station successfully paired.',
      '"status":"used"',
      'Charging station successfully unpaired.',
      '"name":"Demo CPO"',
      '"uid":"SANDBOX-100001"',
      '"items":[{"uid":"SANDBOX-100001"',
      'Charging station successfully unpaired.',
      "operation: 'cpoUnpairEvse'",
    ];
    let at = 0;
    for (const word of words) {
      expect(output.slice(at)).toContain(word);
      at = output.indexOf(word, at) + word.length;
    }
  }
  service.kill('SIGTERM');
  await once(service, 'close');
  rmSync(folder, { recursive: true, force: true });
});

test('the README lists every behaviour of the sandbox CPO', () => {
  for (const code of Object.keys(scenarios)) expect(readme).toContain(`\`${code}\``);
});

test('the README names every setting and every production dependency', () => {
  const { dependencies } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) expect(readme).toContain(name);
  for (const line of readFileSync(projectFile('.env.example'), 'utf8').matchAll(/^# ([A-Z_0-9]+)=/gm))
    expect(readme).toContain(line[1]);
});
