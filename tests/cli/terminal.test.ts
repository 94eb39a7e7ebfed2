import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { projectFile } from '../../src/contract/document';
import { createLog, LARGEST_BACKLOG } from '../../src/log';
import { answerStation, startCpo } from '../harness/a-cpo';
import { launch } from '../harness/a-process';
import { type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { freePort } from '../harness/listen';
import { untilRefused, untilStatus } from '../harness/until';

// The built service as a process, and what terminals, shells and log shippers do to it.

let dataDir: string;
let harness: Harness;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'scsp-terminal-'));
  harness = await startHarness({ SANDBOX: 'true' });
});
afterAll(async () => {
  await harness.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const settings = () => ({ DATABASE_URL: harness.databaseUrl, SECRET_KEY, SANDBOX: 'true', DATA_DIR: dataDir });

describe('a stop', () => {
  /** A service with a redemption under way: `answer` lets the CPO answer, `redeemed` is the app's answer. */
  async function withRedemption() {
    const held: ServerResponse[] = [];
    const cpo = await startCpo(harness, (res) => held.push(res));
    const service = launch(settings());
    const body = {
      user_id: cpo.id,
      charging_location_id: 'home',
      cpo_id: cpo.id,
      payload_protocol: 'ocpp2.0.1',
      code: '1',
    };
    const redeemed = fetch(`${await service.url()}/v1/app/pairings`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${harness.appToken}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }).then(
      ({ status }) => status,
      () => 'cut',
    );
    await cpo.asked(1);
    const answer = () => {
      for (const res of held) answerStation()(res, { method: '', path: '', headers: {}, body: '' });
    };
    return { service, cpo, redeemed, answer };
  }

  test('by a signal that comes twice, as a terminal and npm deliver a Ctrl-C, lets a redemption finish', async () => {
    const { service, cpo, redeemed, answer } = await withRedemption();
    service.child.kill('SIGINT');
    await service.said(/"message":"stopping"/);
    service.child.kill('SIGINT');
    // A connection that arrives with the first signal is still answered.
    const url = `${await service.url()}/live`;
    await untilRefused(url);
    answer();
    expect(await redeemed).toBe(201);
    expect(await service.exited).toBe(0);
    await cpo.down();
  });

  test('ends at once with 1 at a different signal', async () => {
    const { service, cpo, redeemed } = await withRedemption();
    service.child.kill('SIGINT');
    await service.said(/"message":"stopping"/);
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(1);
    expect(await redeemed).toBe('cut');
    await cpo.down();
  });

  test('ends with 1 at the same signal once a second has passed', async () => {
    const { service, cpo, redeemed } = await withRedemption();
    service.child.kill('SIGTERM');
    await service.said(/"message":"stopping"/);
    const began = performance.now();
    const again = setInterval(() => service.child.kill('SIGTERM'), 50);
    expect(await service.exited).toBe(1);
    clearInterval(again);
    expect(performance.now() - began).toBeGreaterThan(900);
    expect(await redeemed).toBe('cut');
    await cpo.down();
  });
});

describe('output that takes nothing', () => {
  const LOST =
    /^\{"timestamp":"[^"]+","level":"error","message":"log lines are lost","reason":"[^"]*(EPIPE|ENOSPC)[^"]*"\}\n$/;

  /** Whether the service answers, and what it says on standard error until it is stopped. */
  async function rounds(child: ChildProcess, url: string) {
    let stderr = '';
    child.stderr?.on('data', (chunk) => {
      stderr += chunk;
    });
    for (let i = 0; i < 3; i++) expect((await untilStatus(200, () => fetch(`${url}/ready`))).status).toBe(200);
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    return { code: (await closed)[0], stderr };
  }

  test('a standard output that is closed stops nothing, and one line on standard error says why lines are lost', async () => {
    const service = launch(settings());
    const url = await service.url();
    service.child.stdout?.destroy();
    const { code, stderr } = await rounds(service.child, url);
    expect(code).toBe(0);
    expect(stderr).toMatch(LOST);
  });

  test('a full disk under standard output stops nothing, not even a start', async () => {
    const port = await freePort();
    const env = { PATH: process.env.PATH ?? '', ...settings(), PORT: String(port) };
    const child = spawn(process.execPath, [projectFile('dist/src/main.js')], {
      env,
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
    });
    const answers = async () => {
      try {
        return await fetch(`http://127.0.0.1:${port}/ready`);
      } catch {
        return { status: 0 };
      }
    };
    expect((await untilStatus(200, answers)).status).toBe(200);
    const { code, stderr } = await rounds(child, `http://127.0.0.1:${port}`);
    expect(code).toBe(0);
    expect(stderr).toMatch(LOST);
  });

  test('both outputs closed stop nothing', async () => {
    const service = launch(settings());
    const url = await service.url();
    service.child.stdout?.destroy();
    service.child.stderr?.destroy();
    expect((await rounds(service.child, url)).code).toBe(0);
  });

  test('a reader that stops reading stops nothing, not even the stop', async () => {
    const service = launch({ ...settings(), LOG_LEVEL: 'debug' });
    const url = await service.url();
    service.child.stdout?.pause();
    // More than pipe and reader take: each line holds the two ids.
    const headers = { 'X-Request-ID': 'r'.repeat(100), 'X-Correlation-ID': 'c'.repeat(100) };
    for (let i = 0; i < 100; i++)
      await Promise.all(Array.from({ length: 10 }, () => fetch(`${url}/v1/nothing`, { headers })));
    const ended = once(service.child, 'exit');
    service.child.kill('SIGTERM');
    expect((await ended)[0]).toBe(0);
    service.child.stdout?.destroy();
  });
});

test('lines that a blocked reader does not take are bounded, and counted when it reads again', async () => {
  const written: string[] = [];
  const complaints: string[] = [];
  const held: (() => void)[] = [];
  const reader = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk));
      held.push(done);
    },
  });
  const into = new Writable({
    write(chunk, _encoding, done) {
      complaints.push(String(chunk));
      done();
    },
  });
  const log = createLog('info', reader, into);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const reason = 'x'.repeat(1_000);
  const SENT = 3_000;
  for (let sent = 0; sent < SENT; sent++) {
    log.info('a line', { reason });
    if (sent % 100 === 0) await turn();
  }
  expect(reader.writableLength).toBeLessThan(LARGEST_BACKLOG);
  const read = async () => {
    for (let done = held.shift(); done !== undefined; done = held.shift()) {
      done();
      await turn();
    }
  };
  await read();
  log.info('a line', { reason });
  await turn();
  await read();
  await log.close();

  const lines = written
    .join('')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const lost = lines.filter(({ message }) => message === 'log lines were lost');
  expect(lost).toEqual([expect.objectContaining({ level: 'warn', reason: 'nobody reads the log' })]);
  expect(lines.length - 1 + lost[0].count).toBe(SENT + 1);
  expect(log.linesLost()).toBe(lost[0].count);
  expect(Math.max(...written.map((text) => text.length))).toBeLessThan(LARGEST_BACKLOG + 1_000);
  expect(complaints).toEqual([expect.stringContaining('"reason":"nobody reads the log"')]);
});
