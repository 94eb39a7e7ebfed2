import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Report } from '../../src/conformance/check';
import { containsToken, createMask } from '../../src/conformance/cpo/secrets';
import { junitReport } from '../../src/conformance/report/junit';
import { textReport } from '../../src/conformance/report/text';
import { ALL_PROTOCOLS, runKit, TOKEN, withVerdict } from '../harness/a-sandbox-cpo';
import { endLater } from '../harness/clean-up';
import { close, listenOn } from '../harness/listen';

const codes = { good: ['Good-Code/1', 'Good-Code/2', 'Good-Code/3'], same_station: ['Same-1', 'Same-2'] };

async function httpTarget(listener: RequestListener) {
  const server = createServer(listener);
  const port = await listenOn(server);
  endLater(() => close(server));
  return `http://127.0.0.1:${port}`;
}

async function tcpTarget(onConnection: (socket: Socket) => void) {
  const server = createTcpServer(onConnection);
  server.on('connection', (socket) => socket.on('error', () => undefined));
  const port = await listenOn(server);
  endLater(() => server.close());
  return `http://127.0.0.1:${port}`;
}

const everyReport = (report: Report) => [textReport(report, false), JSON.stringify(report), junitReport(report, 'cpo')];
const check = (report: Report, id: string) => report.checks.find((one) => one.id === id);
const run = (target: string, deadlineMs = 300) => runKit(target, { codes, limits: { deadlineMs } });

test('a target that never ends its body is read up to 64 KiB', async () => {
  let written = 0;
  const target = await httpTarget((_req, res) => {
    res.writeHead(404, { 'content-type': 'application/json' });
    const chunk = Buffer.alloc(16_384, 'x');
    const write = () => {
      if (res.destroyed) return;
      written += chunk.length;
      res.write(chunk, () => setImmediate(write));
    };
    write();
  });
  const report = await runKit(target, { codes, limits: { deadlineMs: 5_000 }, only: ['transport-size'] });
  expect(check(report, 'transport-size')).toMatchObject({ verdict: 'failed' });
  expect(check(report, 'transport-size')?.evidence?.response?.length).toBeLessThanOrEqual(2_000);
  // What fits the buffers of sockets may have been sent beside it, for each of the three requests.
  expect(written).toBeLessThan(50_000_000);
});

test('after three time-outs of a target that sends byte by byte, nothing more is sent', async () => {
  let requests = 0;
  const target = await httpTarget((_req, res) => {
    requests += 1;
    res.writeHead(404, { 'content-type': 'application/json' });
    const timer = setInterval(() => res.write(' '), 20);
    res.on('close', () => clearInterval(timer));
  });
  const report = await run(target);
  expect(requests).toBe(3);
  expect(check(report, 'transport-answer-time')).toMatchObject({ verdict: 'failed' });
  expect(withVerdict(report, 'passed')).toEqual(['transport-connect']);
  expect(check(report, 'unpair-unknown')).toMatchObject({
    verdict: 'not_run',
    needs: expect.stringContaining('3 requests timed out'),
  });
});

test('a run that takes too long ends, and the rest is not run', async () => {
  const target = await httpTarget((_req, res) => void setTimeout(() => res.writeHead(404).end(), 100));
  const report = await runKit(target, { codes, limits: { runMs: 500 } });
  expect(check(report, 'codes-burst')).toMatchObject({
    verdict: 'not_run',
    needs: expect.stringContaining('2 minutes'),
  });
});

test('a run that is stopped ends, and the rest is not run', async () => {
  const controller = new AbortController();
  const target = await httpTarget(() => controller.abort());
  const report = await runKit(target, { codes, signal: controller.signal });
  expect(withVerdict(report, 'failed', 'warning')).toEqual([]);
  expect(check(report, 'codes-burst')).toMatchObject({ verdict: 'not_run' });
});

test.each([
  [
    'ten megabytes of headers',
    (socket: Socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const line = `x-filler: ${'x'.repeat(8_000)}\r\n`;
      for (let i = 0; i < 1_250 && !socket.destroyed; i += 1) socket.write(line);
    },
  ],
  ['no HTTP', (socket: Socket) => void socket.end('SSH-2.0-OpenSSH_9.6\r\n')],
  ['nothing', (socket: Socket) => void socket.destroy()],
  [
    'informational responses without an end',
    (socket: Socket) => {
      const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 5);
      socket.on('close', () => clearInterval(timer));
    },
  ],
])('a target that answers with %s fails, and the run ends', async (_what, answer) => {
  const target = await tcpTarget((socket) => void socket.once('data', () => answer(socket)));
  const report = await run(target);
  expect(check(report, 'transport-answer-time')).toMatchObject({ verdict: 'failed' });
  expect(withVerdict(report, 'passed')).toEqual(['transport-connect']);
});

test('a response that is missing is put into words, with the id of the request', async () => {
  const ids: unknown[] = [];
  const target = await httpTarget((req) => {
    ids.push(req.headers['x-request-id']);
    req.socket.destroy();
  });
  const report = await run(target);
  const note = check(report, 'transport-answer-time')?.evidence?.note ?? '';
  const [, id] =
    /^you closed the connection without a complete response \(\w+\): look into your log for the request with X-Request-ID (\S+)$/.exec(
      note,
    ) ?? [];
  expect(ids).toContain(id);
});

const NOT_FOUND = { json: 'application/json', html: 'text/html' };
/** Answers every request as a router that does not know the path. */
const router = (type: string, text: (path: string) => string) =>
  httpTarget((req, res) => res.writeHead(404, { 'content-type': type }).end(text(String(req.url))));

test.each([
  ['HTML', NOT_FOUND.html, (path: string) => `<pre>Cannot POST ${path}</pre>`],
  ['JSON with the path', NOT_FOUND.json, (path: string) => `{"message": "Cannot POST ${path}", "statusCode": 404}`],
  ['JSON with the time', NOT_FOUND.json, () => `{"timestamp": ${performance.now()}, "error": "Not Found"}`],
])('a target that answers 404 to all, in %s, fails one check', async (_what, type, text) => {
  const report = await run(await router(type, text));
  expect(withVerdict(report, 'passed', 'failed', 'warning')).toEqual(['transport-connect', 'transport-base-url']);
});

test('a target that takes every body for an incorrect code is served, unlike a path that does not exist', async () => {
  const target = await httpTarget((req, res) => {
    const message = /\/ocp[pi][\d.]+\/pair$/.test(String(req.url)) ? 'Incorrect code.' : 'Not found.';
    res.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ message }));
  });
  const report = await run(target);
  expect(check(report, 'transport-base-url')?.verdict).toBe('passed');
  expect(check(report, 'pair-empty-body')?.verdict).toBe('failed');
});

test('a token that is refused on one path only is accepted', async () => {
  const target = await httpTarget((req, res) =>
    res
      .writeHead(req.url === '/v1/cpo/ocpp1.6/pair' ? 403 : 404, { 'content-type': 'application/json' })
      .end('{"message": "No."}'),
  );
  const report = await run(target);
  expect(check(report, 'auth-token-accepted')?.verdict).toBe('passed');
  expect(check(report, 'pair-incorrect-code')?.verdict).toBe('failed');
});

test('a redirect is not followed', async () => {
  let followed = 0;
  const elsewhere = await httpTarget((_req, res) => {
    followed += 1;
    res.end();
  });
  const target = await httpTarget((_req, res) =>
    res.writeHead(307, { location: `${elsewhere}/latest/meta-data` }).end(),
  );
  const report = await run(target);
  expect(check(report, 'transport-no-redirect')).toMatchObject({ verdict: 'failed' });
  expect(followed).toBe(0);
});

test('a compressed body is not decompressed', async () => {
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  const target = await httpTarget((_req, res) =>
    res.writeHead(404, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bomb),
  );
  const before = process.memoryUsage.rss();
  const report = await run(target, 5_000);
  expect(check(report, 'transport-no-compression')).toMatchObject({ verdict: 'failed' });
  expect(process.memoryUsage.rss() - before).toBeLessThan(200_000_000);
});

test('no report contains the token or a code that works, in whatever spelling the target repeats them', async () => {
  const target = await httpTarget((req, res) => {
    let body = '';
    req.on('data', (chunk) => {
      body += chunk;
    });
    req.on('end', () => {
      const token = String(req.headers.authorization);
      const ours = token.startsWith(`Bearer ${TOKEN.slice(0, 6)}`) ? token.slice('Bearer '.length) : '';
      const characters = [...ours].map((one) => one.charCodeAt(0));
      const all = [
        token.toUpperCase(),
        encodeURIComponent(token),
        token.replaceAll('/', '\\/'),
        characters.map((one) => `%${one.toString(16)}`).join(''),
        characters.map((one) => `\\u00${one.toString(16)}`).join(''),
        characters.map((one) => `&#${one};`).join(''),
        body,
        req.url,
      ];
      const pad = 'x'.repeat(1_950);
      // So that the token without its last character is sent, too.
      const status = token.endsWith('x') ? 401 : 500;
      res.writeHead(status, {
        'content-type': 'application/json',
        location: `${'x'.repeat(185)}${token}`,
        allow: token,
      });
      res.end(JSON.stringify({ message: all.join(' ') + pad + token }));
    });
  });
  const report = await run(target, 5_000);
  expect(report.counts.failed).toBeGreaterThan(10);
  const secrets = [TOKEN, TOKEN.slice(0, 6), ...codes.good, ...codes.same_station];
  const spelled = [
    ...secrets.flatMap((secret) => [secret, encodeURIComponent(secret), secret.replaceAll('/', '\\/')]),
    // The beginning of the token in percent-encoding, JSON escapes and HTML.
    '%74%68',
    'u0074',
    '#116;',
  ];
  for (const text of everyReport(report).map((one) => one.toLowerCase())) {
    const found = spelled.map((secret) => text.indexOf(secret.toLowerCase())).filter((at) => at !== -1);
    expect(found.map((at) => text.slice(at - 30, at + 30))).toEqual([]);
    expect(text).toContain('$my_token');
  }
});

test('a long response that consists of secrets shows no part of one', async () => {
  const target = await httpTarget((req, res) =>
    res.writeHead(500, { 'content-type': 'application/json' }).end(String(req.headers.authorization).repeat(140)),
  );
  // So long that what is shown would have its end where the response was cut off.
  const report = await runKit(target, { codes, token: 'part-of-it-'.repeat(40) });
  expect(report.counts.failed).toBeGreaterThan(10);
  for (const { evidence } of report.checks) expect(evidence?.response ?? '').not.toContain('part-of-it');
});

test('the time to mask a response does not grow with the square of its length', () => {
  const mask = createMask({ token: TOKEN, codes: Array.from({ length: 100 }, (_, n) => `Code-${n}`) });
  const timeOf = (text: string) => {
    const before = process.cpuUsage();
    mask.start(text);
    return process.cpuUsage(before).user;
  };
  timeOf('warm up');
  for (const filler of ['\\', '%25', '&#0', 'c', 't']) expect(timeOf(filler.repeat(65_536))).toBeLessThan(1_000_000);
});

test('neither does the time to look for a token, as long as one may be', () => {
  const token = `${'a'.repeat(511)}b`;
  const before = process.cpuUsage();
  for (const filler of ['a', 'aaab', '\\a', '%61']) expect(containsToken(filler.repeat(65_536), token)).toBe(false);
  createMask({ token, codes: [] }).start('a'.repeat(65_536));
  expect(process.cpuUsage(before).user).toBeLessThan(3_000_000);
  const longest = `${'a'.repeat(4_095)}b`;
  expect(containsToken(`${'a'.repeat(10_000)}b`, longest)).toBe(true);
  expect(createMask({ token: longest, codes: [] }).all(`x${longest.toUpperCase()}x`)).toBe('x<token>x');
});

test.each([
  ['a/b', 'x a\\/b x', 'x <token> x'],
  ['a/b', 'x a%252Fb x', 'x <token> x'],
  ['aé', 'x \\\\u0061\\u00E9 x', 'x <token> x'],
  ['aé', 'x a%C3%A9 x', 'x <token> x'],
  ['ab', 'x &#x61;&#98; x', 'x <token> x'],
  ['a%62c', 'x a%62c x', 'x <token> x'],
  ['\\\\', 'x', 'x'],
])('the token %j is found in %j', (token, text, masked) =>
  expect(createMask({ token, codes: [] }).all(text)).toBe(masked),
);

test('no report contains a control or invisible character of a response', async () => {
  const nasty = '\u001b[2J\u001b]0;title\u0007\u009b31m\u202e\u200b\r\nFAKE  pass\u0000';
  const target = await httpTarget((_req, res) =>
    res
      .writeHead(200, { 'content-type': 'application/json' })
      .end(`{"charging_station": {"uid": ${JSON.stringify(nasty)}, "${nasty}": 1}}`),
  );
  const report = await run(target, 5_000);
  expect(report.counts.failed).toBeGreaterThan(10);
  for (const text of everyReport(report)) expect(text).not.toMatch(/[^\P{C}\n]/u);
});

test('evidence has only bodies that are JSON, where the caller asks for that', async () => {
  const target = await httpTarget((_req, res) =>
    res.writeHead(200, { 'content-type': 'text/plain' }).end('internal data'),
  );
  const report = await runKit(target, { codes, jsonOnly: true, protocols: [ALL_PROTOCOLS[0]] });
  expect(report.counts.failed).toBeGreaterThan(10);
  expect(JSON.stringify(report)).not.toContain('internal data');
});
