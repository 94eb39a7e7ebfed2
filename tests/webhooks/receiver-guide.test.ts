import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { projectFile } from '../../src/contract/document';
import { random } from '../../src/crypto/random';
import { newWebhookSecret, signedHeaders } from '../../src/webhooks/signature';
import { recorder } from '../harness/a-listener';
import { endLater } from '../harness/clean-up';

const guide = readFileSync(projectFile('docs/app-guide.md'), 'utf8');
const [, indent = '', block = ''] = /^( *)```js\n([\s\S]*?)^ *```/m.exec(guide) ?? [];
const receiver = block
  .split('\n')
  .map((line) => line.slice(indent.length))
  .join('\n');

const secret = newWebhookSecret(random);
const event = { id: '019370a4-8c3e-7f74-9b1c-5d6e7f8a9b01', type: 'station.paired', data: { uid: 'CAFÉ-1' } };
const BODY = JSON.stringify(event);

const output = recorder<string>();
let url: string;
beforeAll(async () => {
  const home = mkdtempSync(join(tmpdir(), 'scsp-receiver-'));
  endLater(() => rmSync(home, { recursive: true, force: true }));
  symlinkSync(projectFile('node_modules'), join(home, 'node_modules'));
  const listening = '.listen(0, function () { console.log(this.address().port); })';
  expect(receiver).toContain('.listen(8080)');
  writeFileSync(join(home, 'receiver.mjs'), receiver.replace('.listen(8080)', listening));
  const child = spawn(process.execPath, ['receiver.mjs'], {
    cwd: home,
    env: { PATH: process.env.PATH ?? '', WEBHOOK_SECRET: secret },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  endLater(() => child.kill('SIGKILL'));
  createInterface({ input: child.stdout }).on('line', (line) => output.add(line));
  url = `http://localhost:${(await output.count(1))[0]}/hook`;
});

const deliver = (body: string, key = secret, at = Date.now()) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...signedHeaders([key], event.id, at, BODY) },
    body,
  });

test('the receiver of the guide has at most 16 lines', () =>
  expect(receiver.split('\n').filter((line) => line !== '').length).toBeLessThanOrEqual(16));

test('the receiver of the guide accepts a webhook, and prints the event', async () => {
  expect((await deliver(BODY)).status).toBe(204);
  expect((await output.count(2))[1]).toBe(`station.paired ${event.id} { uid: 'CAFÉ-1' }`);
});

test.each([
  ['that was altered', () => deliver(BODY.replace('CAFÉ-1', 'CAFÉ-2'))],
  ['that was serialised again', () => deliver(JSON.stringify(event, undefined, 2))],
  ['that is signed with another secret', () => deliver(BODY, newWebhookSecret(random))],
  ['that is older than 5 minutes', () => deliver(BODY, secret, Date.now() - 301_000)],
])('the receiver of the guide refuses a webhook %s', async (_what, send) => {
  const printed = output.values.length;
  expect((await send()).status).toBe(400);
  expect(output.values).toHaveLength(printed);
});

test('the receiver of the guide accepts a webhook that two secrets sign, while one replaces the other', async () => {
  const headers = signedHeaders([newWebhookSecret(random), secret], event.id, Date.now(), BODY);
  expect((await fetch(url, { method: 'POST', headers: { ...headers }, body: BODY })).status).toBe(204);
});

test('the guide describes every type of event', () => {
  const types = [
    ...readFileSync(projectFile('openapi.yaml'), 'utf8').matchAll(/type: \{ type: string, enum: \[([\w.]+)\] \}/g),
  ];
  expect(types.length).toBeGreaterThan(10);
  for (const [, type] of types) expect(guide).toContain(`\`${type}\``);
});
