import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { projectFile } from '../../src/contract/document';
import { testAnswerOf } from '../../src/sandbox/test-codes';
import { hasPython, startSampleEndpoint } from '../harness/a-sample-endpoint';
import { startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

const guide = readFileSync(projectFile('docs/sandbox.md'), 'utf8');

test('the quick start works as pasted, twice', async () => {
  const service = await startHarness({ SANDBOX: 'true' });
  const script = [...guide.matchAll(/```sh\n(URL=.*?)```/gs)].map(([, one = '']) => one)[0] ?? '';
  const adapted = script.replace('http://localhost:3000', service.url);
  for (let i = 0; i < 2; i++) {
    const shell = spawn('sh', ['-c', adapted], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [output] = await Promise.all([text(shell.stdout), once(shell, 'close')]);
    for (const token of output.match(/scsp_cpo_[\w-]+/g) ?? []) service.secrets.add(token);
    const parts = [
      '"name":"Station Works"',
      'Charging station successfully paired.',
      'Incorrect Code',
      '"outcome":"incorrect-code"',
      '"uid":"station-1"',
      'Charging station successfully unpaired.',
    ];
    expect(parts.map((part) => output.includes(part))).toEqual(parts.map(() => true));
  }
  await service.stop();
});

(hasPython ? test : test.skip)('the calls to a backend work as pasted, with the endpoint to begin with', async () => {
  const service = await startHarness({ SANDBOX: 'true' });
  service.secrets.add('a-token-of-your-own');
  const endpoint = await startSampleEndpoint('a-token-of-your-own');
  const [, section = ''] = /## Let the sandbox call your backend\n(.*?)\n## /s.exec(guide) ?? [];
  const pastes = [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, one = '']) => one);
  expect(pastes).toHaveLength(3);
  const [first = ''] = [...guide.matchAll(/```sh\n(URL=.*?)# 2\./gs)].map(([, one = '']) => one);
  const script = [first, ...pastes]
    .join('\n')
    .replace('http://localhost:3000', service.url)
    .replace('http://localhost:8080', endpoint.url)
    .replace('CODE=123456', `CODE=${endpoint.code}`);
  const shell = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [output] = await Promise.all([text(shell.stdout), once(shell, 'close')]);
  for (const token of output.match(/scsp_cpo_[\w-]+/g) ?? []) service.secrets.add(token);
  const parts = [
    `"base_url":"${endpoint.url}"`,
    '"outcome":"paired"',
    '"uid":"Station-12"',
    'Charging station successfully unpaired.',
    '"operation":"pair"',
  ];
  expect(parts.map((part) => output.includes(part))).toEqual(parts.map(() => true));
  await untilSo(() => endpoint.said().includes('POST /v1/cpo/chargingstations/Station-12/unpair 200'));
  await service.stop();
});

test('the table lists every test code', () => {
  const table = guide.slice(guide.indexOf('## Test codes'), guide.indexOf('## Let the sandbox call'));
  const listed = [...table.matchAll(/^\| `(\d{6})`/gm)].map(([, code = '']) => code);
  expect(listed).toHaveLength(11);
  for (const code of listed) expect(testAnswerOf(code)).toBeDefined();
  const all = Array.from({ length: 1_000 }, (_, n) => `000${String(n).padStart(3, '0')}`);
  expect(all.filter((code) => testAnswerOf(code) !== undefined)).toEqual(listed.filter((code) => code.startsWith('0')));
});
