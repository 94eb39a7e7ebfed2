import { spawn } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { projectFile } from '../../src/contract/document';
import { command } from '../harness/a-command';
import { answerStation, type Received, sendJson, startCpo } from '../harness/a-cpo';
import { launch } from '../harness/a-process';
import { aStation, createTestDatabase, type Harness, SECRET_KEY, startHarness, type TestCpo } from '../harness/harness';
import { leaks } from '../harness/leaks';
import { sayRaw } from '../harness/raw-http';
import { startProxy } from '../harness/tcp-proxy';
import { untilStatus } from '../harness/until';

const PAIR = '/v1/scsp/ocpp2.0.1/pair';

/** Every token, code, key and password that is used here. */
const secrets = new Set<string>([SECRET_KEY]);
const secret = (text: string) => {
  secrets.add(text);
  return text;
};
// Not a test code of the sandbox, which pairs, nor the hours since 1970 in `issued_code_counts`.
const aCode = () => secret(String(randomInt(600_000, 1_000_000)));
const deadToken = (role: string) => secret(`scsp_${role}_${randomUUID().replaceAll('-', '')}`);

/** What was said where. */
const errors: string[] = [];
const statuses = new Set<number>();
const consoles: string[] = [];
let log = '';
let databaseLog: string | undefined;
let rowsOfAllTables = '';

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let proxy: Awaited<ReturnType<typeof startProxy>>;
let service: Harness;

/** A request whose answer is kept when it is an error. */
async function ask(method: string, path: string, options: Parameters<Harness['request']>[2] = {}) {
  const answer = await service.request(method, path, options);
  keep(answer.status, [...answer.headers], answer.body);
  return answer;
}

function keep(status: number, headers: unknown, body: unknown): void {
  statuses.add(status);
  if (status >= 400) errors.push(JSON.stringify([status, headers, body]));
}

const pair = (cpo: TestCpo, code: unknown, station: unknown = aStation(), headers = {}) =>
  ask('POST', PAIR, { token: cpo.token, body: { code, charging_station: station }, headers });

const issue = async (body: object = {}) => {
  const issued = await service.code(body);
  secret(issued.code);
  return issued;
};

const aCpo = async () => {
  const cpo = await service.cpo();
  secret(cpo.token);
  return cpo;
};

async function query(sql: string): Promise<any[]> {
  const client = new Client(database.url);
  await client.connect();
  return (await client.query(sql).finally(() => client.end())).rows;
}

async function codesOfAllKinds(): Promise<void> {
  const cpo = await aCpo();
  const { code } = await issue();
  const station = aStation();
  await pair(cpo, `${code.slice(0, 3)} ${code.slice(3)}`, station);
  await pair(cpo, code, station);
  await pair(cpo, code);
  const other = await aCpo();
  for (const wrong of [aCode(), `${aCode()}`.replace(/(...)/, '$1-'), (await issue({ cpo_id: cpo.id })).code])
    await pair(other, wrong);
  const malformed = [
    Number(aCode()),
    [aCode()],
    { code: aCode() },
    `${'x'.repeat(60)} ${aCode()}`,
    `${aCode()}\u0000`,
    null,
  ];
  for (const code of malformed) await pair(other, code);
  await ask('POST', PAIR, { token: other.token, body: { pairing_code: aCode(), code: true, charging_station: {} } });
  for (const raw of [
    `{"code": "${aCode()}", `,
    `{"code": ${aCode()}x`,
    `{"code": "${aCode()}" "charging_station"`,
    aCode(),
    `"${aCode()}"`,
  ])
    await ask('POST', PAIR, { token: other.token, raw });
  await ask('POST', PAIR, { token: other.token, raw: new Uint8Array([...Buffer.from(`{"code": "${aCode()}`), 0xff]) });

  // Codes that stay active, where a careless caller puts them.
  for (const header of ['X-Request-ID', 'X-Correlation-ID']) {
    const { code } = await issue();
    await pair(cpo, code, station, { [header]: code });
    await pair(cpo, code, { uid: 'u' }, { [header]: `pair/${code}` });
  }
  const cancelled = await issue();
  await ask('DELETE', `/v1/app/pairing-codes/${cancelled.id}`, { token: service.appToken });
  await pair(cpo, cancelled.code);
  const expired = await issue();
  await query(`update pairing_codes set expires_at = now() where id = '${expired.id}'`);
  await pair(cpo, expired.code);
  const spent = await aCpo();
  for (let sent = 0; sent < 6; sent++) await pair(spent, aCode(), { ...station, uid: 'spent' });
  await pair(spent, (await issue()).code, { ...station, uid: 'spent' });

  const headers = { 'Idempotency-Key': randomUUID() };
  await pair(cpo, (await issue()).code, aStation('once'), headers);
  await pair(cpo, (await issue()).code, aStation('once'), headers);
}

async function tokensOfAllKinds(): Promise<void> {
  const cpo = await aCpo();
  const me = '/v1/scsp/me';
  await ask('GET', me, { token: cpo.token });
  for (const token of [deadToken('cpo'), deadToken('app'), `${cpo.token}x`, secret(`Basic-${randomUUID()}`)])
    await ask('GET', me, { token });
  for (const scheme of ['Basic ', 'bearer', 'Bearer  ', ''])
    await ask('GET', me, { headers: { Authorization: `${scheme}${deadToken('cpo')}` } });
  await ask('GET', me, { token: service.appToken });
  await ask('DELETE', `${me}?token=${cpo.token}`, { token: cpo.token });
  for (const path of [
    `${me}?access_token=${cpo.token}`,
    `${me}/${cpo.token}`,
    `/${deadToken('app')}`,
    `/problems/${cpo.token}`,
    `/docs/${cpo.token}`,
  ])
    await ask('GET', path);
  await ask('GET', `${me}?access_token=${cpo.token}`, { token: cpo.token });
  await ask('POST', PAIR, { body: { access_token: cpo.token, code: (await issue()).code } });
  await ask('POST', PAIR, { token: cpo.token, body: { access_token: cpo.token, code: (await issue()).code } });
  const bad = { token: cpo.token, raw: `access_token=${cpo.token}` };
  for (const type of ['application/x-www-form-urlencoded', 'text/plain'])
    await ask('POST', PAIR, { ...bad, headers: { 'Content-Type': type } });
  await ask('POST', PAIR, { token: cpo.token, raw: `"${cpo.token}${'x'.repeat(70_000)}"` });
  await ask('POST', `/v1/scsp/ocpp9/pair`, { token: cpo.token, body: { code: aCode(), charging_station: aStation() } });

  const { id, token } = JSON.parse((await scsp(['token', 'issue', '--cpo', cpo.id])).stdout);
  secret(token);
  await scsp(['token', 'revoke', id]);
  await scsp(['cpo', 'suspend', cpo.id]);
  await service.log.waitFor(({ problem }) => problem === 'invalid-token');
  await untilStatus(403, () => ask('GET', me, { token: cpo.token }), 10_000);
  await ask('GET', me, { token });

  const authorization = `Authorization: Bearer ${deadToken('cpo')}\r\nConnection: close\r\n`;
  for (const request of [
    `GET ${me} HTTP/1.1\r\nHost: x\r\n${authorization}X: ${'x'.repeat(20_000)}\r\n\r\n`,
    `GET ${me} HTTP/1.1\r\nHost: x\r\n${authorization}no header\r\n\r\n`,
    `GET ${me} HTTP/1.1\r\nHost: x\r\n${authorization}Expect: ${deadToken('cpo')}\r\n\r\n`,
    `${deadToken('cpo')}\r\n\r\n`,
  ])
    for (const { status, headers, body } of await sayRaw(service.url, request)) keep(status, headers, body);
}

/** What careless and malicious backends make of what they are told. */
const echoes: ((res: ServerResponse, said: { code: string; token: string }) => void)[] = [
  (res) => sendJson(res, 200, { charging_station: aStation() }),
  (res, { code, token }) => sendJson(res, 404, { message: `${code} ${token}` }),
  (res, { code, token }) => sendJson(res, 400, { message: `${code} ${token}`, [token]: code }),
  (res, { code, token }) => sendJson(res, 500, { message: `${code} ${token}` }),
  (res, { code, token }) => sendJson(res, 200, { [token]: code }),
  (res, { code, token }) => sendJson(res, 200, { charging_station: { uid: code, evses: token } }),
  (res, { code, token }) => sendJson(res, 200, { charging_station: { ...aStation(), uid: { [token]: code } } }),
  (res, { code, token }) =>
    sendJson(res, 200, {
      charging_station: { uid: 'u', evses: [{ evse_id: code, connectors: [{ id: 1, power_type: token }] }] },
    }),
  (res, { code }) =>
    sendJson(res, 200, { charging_station: { uid: 'u', evses: [{ evse_id: -Number(code), connectors: [] }] } }),
  (res, { code, token }) => void res.writeHead(200, { 'content-type': 'text/html' }).end(`${code} ${token}`),
  (res, { code, token }) =>
    void res.writeHead(200, { 'content-type': `application/json; x=${token}` }).end(`{"${code}": ${token}`),
  (res, { code, token }) =>
    void res.writeHead(200, { 'content-type': 'application/json' }).end(`{"${token}": {"${code}": "\\ud800"}}`),
  (res, { code, token }) => void res.writeHead(302, { location: `https://${token}.example/${code}` }).end(),
  (res) => void res.socket?.destroy(),
];

async function callsOfAllKinds(): Promise<void> {
  for (const echo of echoes) {
    let answer: Parameters<typeof startCpo>[1] = answerStation();
    const cpo = await startCpo(service, (res, request: Received) => answer(res, request));
    const code = aCode();
    const said = { code, token: secret(cpo.outboundToken) };
    answer = (res) => echo(res, said);
    secret(cpo.token);
    const redeemed = await service.redeem(cpo, code);
    keep(redeemed.status, [...redeemed.headers], redeemed.body);
    if (redeemed.status === 201) {
      answer = (res) => sendJson(res, 500, { message: cpo.outboundToken });
      await service.unpairAsApp(redeemed.body.uid);
      await service.log.waitFor(
        ({ message, cpo_id }) => message === 'CPO not notified of an unpairing yet' && cpo_id === cpo.id,
      );
    }
    await cpo.down();
  }
  const cpo = await aCpo();
  for (const code of [Number(aCode()), [aCode()], '', ` ${aCode()} `]) {
    const { status, headers, body } = await service.redeem(cpo, code as string);
    keep(status, [...headers], body);
  }
}

async function partings(): Promise<void> {
  const cpo = await aCpo();
  const { code } = await issue({ user_id: 'leaving' });
  const station = aStation();
  await pair(cpo, code, station);
  await ask('POST', `/v1/scsp/chargingstations/${station.uid}/unpair`, { token: cpo.token });
  await ask('POST', `/v1/scsp/chargingstations/${station.uid}/unpair`, { token: cpo.token });
  await issue({ user_id: 'leaving' });
  await ask('DELETE', '/v1/app/users/leaving', { token: service.appToken });
}

async function scsp(args: string[], input: string[] = []) {
  const ended = await command({ DATABASE_URL: database.url, SECRET_KEY, SANDBOX: 'true' }, [...args, '--json'], input);
  errors.push(ended.stderr);
  return ended;
}

async function commands(): Promise<void> {
  const token = secret(`outbound-${randomUUID()}`);
  const add = ['cpo', 'add', 'Echo', '--base-url', 'https://cpo.example', '--outbound-token-stdin'];
  for (const input of [token, token, `${token} ${token}`]) await scsp(add, [input]);
  secret(JSON.parse((await scsp(['code', 'issue', '--user', 'u', '--location', 'l'])).stdout).code);
  for (const verb of ['revoke', 'rotate']) await scsp(['token', verb, deadToken('cpo')]);
  for (const noun of ['cpo', 'token', 'outbox', 'station']) await scsp([noun, 'list']);
}

async function breakdowns(): Promise<void> {
  service.log.provokeInternalErrors();
  const cpo = await aCpo();
  const { code } = await issue();
  await query('alter table connectors rename to away');
  expect((await pair(cpo, code)).status).toBe(500);
  await query('alter table away rename to connectors');
  await query(`alter table pairing_codes add constraint none check (status <> 'used') not valid`);
  expect((await pair(cpo, code)).status).toBe(500);
  await query('alter table pairing_codes drop constraint none');
  await query('alter table cpos rename column outbound_token to away');
  const { status, headers, body } = await service.redeem(cpo, aCode());
  keep(status, [...headers], body);
  await query('alter table cpos rename column away to outbound_token');

  await proxy.down();
  for (const token of [cpo.token, deadToken('cpo')])
    await ask('POST', PAIR, { token, body: { code, charging_station: aStation() } });
  await ask('POST', '/v1/app/pairing-codes', {
    token: service.appToken,
    body: { user_id: 'u', charging_location_id: 'l' },
  });
  await proxy.up();
}

/** What PostgreSQL writes; undefined when it is not the tests' own. */
const databaseLogFile = process.env.SCSP_TEST_DATABASE_LOG;

beforeAll(async () => {
  for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const)
    jest.spyOn(console, method).mockImplementation((...words) => void consoles.push(words.join(' ')));
  database = await createTestDatabase();
  // PostgreSQL then writes every statement with its parameters.
  await query(`alter database ${new URL(database.url).pathname.slice(1)} set log_statement = 'all'`);
  const before = databaseLogFile === undefined ? 0 : statSync(databaseLogFile).size;
  proxy = await startProxy(database.url);
  service = await startHarness({ SANDBOX: 'true', LOG_LEVEL: 'debug' }, { databaseUrl: proxy.url });
  secret(service.appToken);
  secret(decodeURIComponent(new URL(database.url).password));

  for (const act of [codesOfAllKinds, tokensOfAllKinds, callsOfAllKinds, partings, commands, breakdowns]) await act();
  const tables = await query(
    `select schemaname || '.' || tablename as name from pg_tables where schemaname = 'public'`,
  );
  for (const { name } of tables)
    rowsOfAllTables += (await query(`select t::text from ${name} t`)).map(({ t }) => t).join('\n');
  await service.stop();
  log = service.log.lines.map((line) => JSON.stringify(line)).join('\n');
  // Without the process ids, which may have six digits.
  if (databaseLogFile !== undefined)
    databaseLog = readFileSync(databaseLogFile)
      .subarray(before)
      .toString()
      .replace(/\[\d+\]/g, '');
  secrets.delete('');
}, 180_000);
afterAll(async () => {
  await proxy?.stop();
  await database?.drop();
  jest.restoreAllMocks();
});

test('the life was varied', () => {
  expect([...statuses].sort()).toEqual([
    200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 415, 417, 422, 429, 431, 500, 502, 503,
  ]);
  expect(secrets.size).toBeGreaterThan(60);
});

test.each([
  ['the log at level debug', () => log, /"internal error"[\s\S]*"database unavailable"/],
  [
    'any error answer, or what a command says on standard error',
    () => errors.join('\n'),
    /incorrect-code[\s\S]*a CPO with the name Echo already exists/,
  ],
  ['what libraries print', () => `${consoles.join('\n')} nothing`, /nothing/],
  [
    'the log of PostgreSQL, every statement with its parameters',
    () => databaseLog ?? 'out of reach',
    databaseLogFile === undefined ? /out of reach/ : /scsp_pair_v4/,
  ],
  ['any table', () => rowsOfAllTables, /station\.paired/],
])('no token, code, key or password stands in %s', (_where, text, sign) => {
  expect(text()).toMatch(sign);
  expect(leaks(text(), secrets)).toEqual([]);
});

test.each([
  ['a number', 'code 123456 is', ['123456']],
  ['a JSON string', '{"code":"123456"}', ['123456']],
  ['digits apart', 'typed 123 456, or 1-2-3-4-5-6', ['123456']],
  ['behind another number', '404 123456', ['123456']],
  ['a UUID or a hash, which is random', '0197a123-4567-7123-8456-123456789abc \\xab123456cd 0.123456', []],
  ['a date', '{"at":"1234-56-07T08:09:10Z"}, Date: Sat, 07 Dec 1234 56:00:00 GMT', []],
  ['digits before a date', '123456 2026-12-01 14:06:43', ['123456']],
  ['bytes', '\\x736373705f63706f5f7831', ['scsp_cpo_x1']],
  ['a word', 'Bearer scsp_cpo_x1, or so', ['scsp_cpo_x1']],
])('a secret would be found as %s', (_how, text, found) =>
  expect(leaks(text, ['123456', 'scsp_cpo_x1', 'not there'])).toEqual(found),
);

(existsSync('/proc/self/cmdline') ? test : test.skip)(
  'no process is given a secret as an argument, and the embedded database writes none',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'scsp-secrets-'));
    const seen = new Set<string>();
    let looking = true;
    const look = (async () => {
      while (looking) {
        for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
          try {
            seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
          } catch {
            // It has just ended.
          }
        }
        await new Promise(setImmediate);
      }
    })();
    const env = {
      DATA_DIR: folder,
      SECRET_KEY: 'a key in the environment, which nobody else can see',
      LOG_LEVEL: 'debug',
    };
    const child = launch(env);
    await child.said(/Stop: Ctrl-C/);
    const { app, cpo } = JSON.parse(readFileSync(join(folder, 'sandbox.json'), 'utf8'));
    const token = `outbound-${randomUUID()}`;
    const cli = spawn(
      process.execPath,
      [
        projectFile('dist/src/cli.js'),
        'cpo',
        'add',
        'Volt',
        '--base-url',
        'https://cpo.example',
        '--outbound-token-stdin',
      ],
      { env: { PATH: process.env.PATH ?? '', ...env }, stdio: ['pipe', 'ignore', 'inherit'] },
    );
    cli.stdin.end(token);
    expect((await once(cli, 'close'))[0]).toBe(0);
    looking = false;
    await look;
    child.child.kill('SIGTERM');
    expect(await child.exited).toBe(0);

    const password = readFileSync(join(folder, 'postgres/password'), 'utf8');
    const known = [env.SECRET_KEY, app.token, cpo.token, token, password];
    const arguments_ = [...seen].join('\n');
    for (const program of ['main.js', 'initdb', 'postgres', 'cpo add Volt']) expect(arguments_).toContain(program);
    expect(leaks(arguments_, known)).toEqual([]);
    expect(leaks(readFileSync(join(folder, 'postgres.log'), 'utf8'), known)).toEqual([]);
    const lines = child
      .output()
      .stdout.split('\n')
      .filter((line) => line.startsWith('{'));
    expect(leaks(lines.join('\n') + child.output().stderr, known)).toEqual([]);
    rmSync(folder, { recursive: true, force: true });
  },
);
