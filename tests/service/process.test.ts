import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch } from '../harness/a-process';
import { createTestDatabase } from '../harness/harness';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'scsp-process-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const json = async (response: Response): Promise<any> => response.json();

test('a proxy in the environment neither keeps the service from starting nor gets its calls', async () => {
  const proxy = 'http://127.0.0.1:9';
  const service = launch({
    DATA_DIR: dataDir,
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
  });
  const url = await service.url();
  await service.said(/Stop: Ctrl-C/);
  const { app, cpo } = JSON.parse(readFileSync(join(dataDir, 'sandbox.json'), 'utf8'));
  const redeemed = await fetch(`${url}/v1/app/pairings`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${app.token}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({
      user_id: 'u',
      charging_location_id: 'l',
      cpo_id: cpo.id,
      payload_protocol: 'ocpp2.0.1',
      code: '200000',
    }),
  });
  expect(redeemed.status).toBe(201);
  service.child.kill('SIGTERM');
  expect(await service.exited).toBe(0);
});

test('the sandbox starts with nothing set, and its two commands work as pasted, before and after a restart', async () => {
  let appToken: string | undefined;
  for (const _start of ['first', 'second']) {
    const service = launch({ DATA_DIR: dataDir });
    const url = await service.url();
    await service.said(/Stop: Ctrl-C/);
    const commands = service
      .output()
      .stdout.split('\n')
      .filter((line) => /^(CODE=|curl )/.test(line));
    expect(commands).toHaveLength(2);
    const shell = spawn('sh', ['-c', commands.join('\n')], { stdio: ['ignore', 'pipe', 'ignore'] });
    let answer = '';
    shell.stdout.on('data', (chunk) => {
      answer += chunk;
    });
    await once(shell, 'close');
    expect(JSON.parse(answer).message).toBe('Charging station successfully paired.');

    const sandbox = JSON.parse(readFileSync(join(dataDir, 'sandbox.json'), 'utf8'));
    expect(sandbox).toEqual({
      url,
      cpo: { id: expect.any(String), token: expect.stringMatching(/^scsp_cpo_/) },
      app: { token: expect.stringMatching(/^scsp_app_/) },
      ingest: { token: expect.stringMatching(/^scsp_ingest_/) },
    });
    expect(statSync(join(dataDir, 'sandbox.json')).mode & 0o777).toBe(0o600);
    expect(sandbox.app.token).toBe(appToken ?? sandbox.app.token);
    appToken = sandbox.app.token;
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
  }
  writeFileSync(join(dataDir, 'sandbox.json'), 'broken');
  const service = launch({ DATA_DIR: dataDir });
  await service.said(/Stop: Ctrl-C/);
  expect(JSON.parse(readFileSync(join(dataDir, 'sandbox.json'), 'utf8')).app.token).not.toBe(appToken);
  service.child.kill('SIGINT');
  expect(await service.exited).toBe(0);
});

test('a sandbox.json of an earlier version gets a token for the ingest, and keeps the others', async () => {
  const first = launch({ DATA_DIR: dataDir });
  await first.said(/Stop: Ctrl-C/);
  first.child.kill('SIGTERM');
  expect(await first.exited).toBe(0);

  const file = join(dataDir, 'sandbox.json');
  const { ingest: _ingest, url: _url, ...former } = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify(former));
  const upgraded = launch({ DATA_DIR: dataDir });
  await upgraded.said(/Stop: Ctrl-C/);
  const ingest = { token: expect.stringMatching(/^scsp_ingest_/) };
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ ...former, ingest });
  upgraded.child.kill('SIGTERM');
  expect(await upgraded.exited).toBe(0);
});

test('a second start on one folder is refused with a message', async () => {
  const first = launch({ DATA_DIR: dataDir });
  await first.url();
  const second = launch({ DATA_DIR: dataDir });
  expect(await second.exited).toBe(1);
  expect(second.output().stderr).toContain(String(first.child.pid));
  first.child.kill('SIGTERM');
  expect(await first.exited).toBe(0);
});

test('a start in production without database or secret is refused with every error', async () => {
  const service = launch({ NODE_ENV: 'production', PORT: 'x' });
  expect(await service.exited).toBe(1);
  for (const name of ['DATABASE_URL', 'SECRET_KEY', 'PORT']) expect(service.output().stderr).toContain(name);
});

test('a database that is unavailable at the start is reported within 10 s', async () => {
  const began = performance.now();
  const service = launch({ DATABASE_URL: 'postgres://127.0.0.1:1/none', DATA_DIR: dataDir });
  expect(await service.exited).toBe(1);
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(service.output().stderr).toMatch(/cannot start: .*ECONNREFUSED/);
});

test('with DATABASE_URL nothing is seeded, and the metrics have a port of their own', async () => {
  const database = await createTestDatabase();
  const service = launch({ DATABASE_URL: database.url, DATA_DIR: dataDir, METRICS_PORT: '0' });
  const url = await service.url();
  expect(existsSync(join(dataDir, 'sandbox.json'))).toBe(false);
  expect((await fetch(`${url}/metrics`)).status).toBe(404);
  const [, metricsUrl] = await service.said(/"message":"metrics".*"url":"([^"]+)"/);
  const metrics = await (await fetch(`${metricsUrl}`)).text();
  expect(metrics).toMatch(/scsp_request_duration_seconds_count\{operation="none",status="404"\} 1/);
  expect(metrics).toContain('process_cpu_seconds_total');
  service.child.kill('SIGTERM');
  expect(await service.exited).toBe(0);
  await database.drop();
});

describe('a stop', () => {
  const start = async () => {
    const service = launch({ DATA_DIR: dataDir });
    const url = await service.url();
    await service.said(/Stop: Ctrl-C/);
    const { app, cpo } = JSON.parse(readFileSync(join(dataDir, 'sandbox.json'), 'utf8'));
    const issue = async () =>
      json(
        await fetch(`${url}/v1/app/pairing-codes`, {
          method: 'POST',
          headers: { Authorization: `Bearer ${app.token}`, 'Content-Type': 'application/json' },
          body: '{"user_id":"u","charging_location_id":"l"}',
        }),
      );
    return { ...service, url, app, cpo, issue };
  };

  test('answers long polls at once, finishes a request in flight, refuses new connections, and exits with 0', async () => {
    const service = await start();
    const { id } = await service.issue();
    const port = Number(new URL(service.url).port);
    // Two requests in one write: when the first is answered, the second is in the service's hands.
    const poll = connect(port, '127.0.0.1');
    poll.write(
      `GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/app/pairing-codes/${id}?wait=30 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.app.token}\r\n\r\n`,
    );
    await once(poll, 'data');
    const slow = connect(port, '127.0.0.1');
    const body = '{"user_id":"slow","charging_location_id":"l"}';
    slow.write(
      `POST /v1/app/pairing-codes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.app.token}\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    expect(String((await once(slow, 'data'))[0])).toContain('100 Continue');

    const began = performance.now();
    service.child.kill('SIGTERM');
    expect(String((await once(poll, 'data'))[0])).toContain('"status":"active"');
    await expect(fetch(`${service.url}/live`)).rejects.toThrow();
    slow.write(body);
    expect(String((await once(slow, 'data'))[0])).toContain('201 Created');
    expect(await service.exited).toBe(0);
    expect(performance.now() - began).toBeLessThan(9_000);
  });

  test('by kill -9 loses nothing that was acknowledged', async () => {
    const service = await start();
    const { id } = await service.issue();
    service.child.kill('SIGKILL');
    await service.exited;
    const again = await start();
    const followed = await fetch(`${again.url}/v1/app/pairing-codes/${id}`, {
      headers: { Authorization: `Bearer ${again.app.token}` },
    });
    expect((await json(followed)).status).toBe('active');
    again.child.kill('SIGTERM');
    expect(await again.exited).toBe(0);
  });
});
