import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from 'pg';
import { attachEmbedded, type Embedded, EmbeddedError, startEmbedded } from '../../src/embedded-postgres/launcher';
import { processStart, readIfThere } from '../../src/embedded-postgres/lock';
import { untilSo } from '../harness/until';

const CHILD = join(__dirname, 'embedded-child.js');
const NOBODY = 65534;
const FAST = { initdbOptions: ['--no-sync'], settings: { fsync: 'off' } };
const isRoot = process.getuid?.() === 0;
const onLinux = process.platform === 'linux' ? test : test.skip;

let dir: string;
let database: Embedded | undefined;
let children: ChildProcess[];

beforeEach(() => {
  dir = join(realpathSync(mkdtempSync(join(tmpdir(), 'embedded-'))), '.data');
  children = [];
});

afterEach(async () => {
  await database?.stop();
  database = undefined;
  for (const child of children) child.kill('SIGKILL');
  await end(postmaster());
  rmSync(join(dir, '..'), { recursive: true, force: true, maxRetries: 5 });
});

test('the first start creates a database behind a password that only its owner can read', async () => {
  database = await startEmbedded({ dir, ...FAST });
  expect(await query(database.url, 'SHOW server_version')).toEqual([
    { server_version: expect.stringMatching(/^18\./) },
  ]);
  expect(statSync(join(dir, 'postgres', 'password')).mode & 0o777).toBe(0o600);
  await expect(query(database.url.replace(/:[^:@]+@/, ':guess@'), 'SELECT 1')).rejects.toThrow(
    'password authentication failed',
  );
  expect(
    await query(
      database.url,
      "SELECT current_setting('listen_addresses') AS tcp, current_setting('unix_socket_directories') AS unix",
    ),
  ).toEqual([{ tcp: '127.0.0.1', unix: '' }]);
});

test('a restart keeps the rows and leaves the other files of the folder alone', async () => {
  mkdirSync(dir);
  writeFileSync(join(dir, 'sandbox.json'), '{}');
  database = await startEmbedded({ dir, ...FAST });
  await query(database.url, 'CREATE TABLE rows AS SELECT 7 AS n');
  await database.stop();
  database = await startEmbedded({ dir, ...FAST });
  expect(await query(database.url, 'SELECT n FROM rows')).toEqual([{ n: 7 }]);
  expect(readFileSync(join(dir, 'sandbox.json'), 'utf8')).toBe('{}');
});

test('deleting the folder leads to an empty database', async () => {
  database = await startEmbedded({ dir, ...FAST });
  await query(database.url, 'CREATE TABLE rows (n int)');
  await database.stop();
  rmSync(dir, { recursive: true });
  database = await startEmbedded({ dir, ...FAST });
  expect(await query(database.url, "SELECT to_regclass('rows') AS found")).toEqual([{ found: null }]);
});

test('a setting given at the start reaches PostgreSQL', async () => {
  database = await startEmbedded({ dir, ...FAST, settings: { ...FAST.settings, max_connections: '17' } });
  expect(await query(database.url, 'SHOW max_connections')).toEqual([{ max_connections: '17' }]);
});

test('a second start is refused and names the folder and the process', async () => {
  const { child, started } = await childOn(dir);
  const refusal = startEmbedded({ dir, ...FAST });
  await expect(refusal).rejects.toThrow(EmbeddedError);
  await expect(refusal).rejects.toThrow(`The data directory ${dir} is in use by process ${child.pid}.`);
  expect(await query(started, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('another process can attach while the owner runs, and neither before nor after', async () => {
  expect(await attachEmbedded(dir)).toBeUndefined();
  const { child, started } = await childOn(dir);
  expect(await attachEmbedded(dir)).toBe(started);
  child.stdin.end('stop\n');
  await once(child, 'exit');
  expect(await attachEmbedded(dir)).toBeUndefined();
});

test('stopping twice is stopping once, and nothing of PostgreSQL stays behind', async () => {
  database = await startEmbedded({ dir, ...FAST });
  const pid = postmaster();
  await Promise.all([database.stop(), database.stop()]);
  await database.stop();
  expect(processStart(pid)).toBeUndefined();
  expect(existsSync(lock())).toBe(false);
});

test('of several starts at the same instant exactly one wins', async () => {
  const rivals = await Promise.all([1, 2, 3, 4].map(() => spawnChild(dir)));
  for (const { child } of rivals) child.stdin.write('go\n');
  const outcomes = await Promise.all(rivals.map(({ next }) => next()));
  expect(outcomes.map(({ event }) => event).sort()).toEqual(['failed', 'failed', 'failed', 'started']);
});

test('of several starts on the lock of a dead process exactly one wins', async () => {
  mkdirSync(dir);
  writeFileSync(lock(), `${process.pid} an-earlier-process 5432`);
  const rivals = await Promise.all([1, 2, 3, 4].map(() => spawnChild(dir)));
  for (const { child } of rivals) child.stdin.write('go\n');
  const outcomes = await Promise.all(rivals.map(({ next }) => next()));
  expect(outcomes.map(({ event }) => event).sort()).toEqual(['failed', 'failed', 'failed', 'started']);
});

test('a lock whose pid now belongs to another process is taken over', async () => {
  database = await startEmbedded({ dir, ...FAST });
  const [pid, start, port] = readFileSync(lock(), 'utf8').split(' ');
  expect({ pid, start }).toEqual({ pid: String(process.pid), start: processStart(process.pid) });
  await database.stop();

  const stranger = spawn('sleep', ['60']);
  children.push(stranger);
  writeFileSync(lock(), `${stranger.pid} ${start} ${port}`);
  writeFileSync(join(dir, 'postgres', 'data', 'postmaster.pid'), `${stranger.pid}\n`);
  expect(await attachEmbedded(dir)).toBeUndefined();
  database = await startEmbedded({ dir, ...FAST });
  expect(await query(database.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
});

test('kill -9 of the owner leaves no orphan and loses no acknowledged row', async () => {
  const { child, next } = await childOn(dir, { initdbOptions: FAST.initdbOptions, settings: {} });
  for (let n = 1; n <= 100; n++) child.stdin.write(`${n}\n`);
  let acknowledged = 0;
  while (acknowledged < 50) acknowledged = Number((await next()).detail);
  const orphan = postmaster();
  child.kill('SIGKILL');
  await gone(orphan);

  database = await startEmbedded({ dir, ...FAST });
  const [row] = await query(database.url, 'SELECT count(*)::int AS rows FROM rows');
  expect(row.rows).toBeGreaterThanOrEqual(acknowledged);
});

onLinux('an orphan whose guardian was killed too is stopped by the next start', async () => {
  const { child, next } = await childOn(dir);
  child.stdin.write('7\n');
  expect(await next()).toEqual({ event: 'inserted', detail: 7 });
  const orphan = postmaster();
  const guardians = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
    .split(' ')
    .filter((pid) => pid && Number(pid) !== orphan);
  expect(guardians).toHaveLength(1);
  process.kill(Number(guardians[0]), 'SIGKILL');
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(processStart(orphan)).toBeDefined();

  database = await startEmbedded({ dir, ...FAST });
  expect(processStart(orphan)).toBeUndefined();
  expect(await query(database.url, 'SELECT n FROM rows')).toEqual([{ n: 7 }]);
});

test('kill -9 of PostgreSQL is reported to the owner, and the next start recovers', async () => {
  let tell: (message: string) => void = () => {};
  const ended = new Promise<string>((resolve) => (tell = resolve));
  database = await startEmbedded({ dir, initdbOptions: FAST.initdbOptions, onExit: tell });
  await query(database.url, 'CREATE TABLE rows AS SELECT 7 AS n');
  process.kill(postmaster(), 'SIGKILL');
  expect(await ended).toMatch(/^PostgreSQL ended unexpectedly \(SIGKILL\)/);
  await database.stop();

  database = await startEmbedded({ dir, ...FAST });
  expect(await query(database.url, 'SELECT n FROM rows')).toEqual([{ n: 7 }]);
});

test('Ctrl-C for the whole process group leaves the owner its database until it has drained', async () => {
  const { child, next } = await childOn(dir);
  process.kill(-Number(child.pid), 'SIGINT');
  expect(await next()).toEqual({ event: 'drained', detail: 1 });
  expect(await once(child, 'exit')).toEqual([0, null]);
});

(isRoot ? test : test.skip)('root starts it below a folder that nobody else may enter', async () => {
  chmodSync(join(dir, '..'), 0o700);
  database = await startEmbedded({ dir, ...FAST });
  expect(await query(database.url, 'CREATE TABLE rows (n int)')).toEqual([]);
  expect(statSync(join(dir, '..')).mode & 0o777).toBe(0o700);
});

(isRoot && canRead(CHILD) ? test : test.skip)(
  'an ordinary user starts it, and root afterwards runs it as that user',
  async () => {
    chmodSync(join(dir, '..'), 0o711);
    mkdirSync(dir);
    chownSync(dir, NOBODY, NOBODY);
    const { child } = await childOn(dir, FAST, { uid: NOBODY, gid: NOBODY });
    child.stdin.end('stop\n');
    await once(child, 'exit');

    database = await startEmbedded({ dir, ...FAST });
    expect(statSync(join(dir, 'postgres', 'data', 'postmaster.pid')).uid).toBe(NOBODY);
  },
);

/** A process that will start the database when it reads a line; `next` gives what it says. */
async function spawnChild(folder: string, options: object = FAST, account = {}) {
  const child = spawn(process.execPath, [CHILD, JSON.stringify({ dir: folder, ...options })], {
    ...account,
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<{ event: string; detail: unknown }> =>
    JSON.parse((await lines.next()).value ?? '{"event":"died"}');
  expect(await next()).toEqual({ event: 'waiting', detail: child.pid });
  return { child, next };
}

async function childOn(folder: string, options: object = FAST, account = {}) {
  const { child, next } = await spawnChild(folder, options, account);
  child.stdin.write('go\n');
  const { event, detail } = await next();
  expect({ event, detail }).toEqual({ event: 'started', detail: expect.stringContaining('postgres://') });
  return { child, next, started: String(detail) };
}

async function query(connectionString: string, sql: string) {
  const client = new Client({ connectionString });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

function lock(): string {
  return join(dir, 'postgres.lock');
}

function postmaster(): number {
  return Number.parseInt(readIfThere(join(dir, 'postgres', 'data', 'postmaster.pid')) ?? '', 10);
}

/** Also an orphan that a failed test left behind. */
async function end(pid: number): Promise<void> {
  try {
    if (processStart(pid) !== undefined) process.kill(pid, 'SIGINT');
  } catch {
    // It ended by itself.
  }
  await gone(pid);
}

function gone(pid: number): Promise<void> {
  return untilSo(() => processStart(pid) === undefined);
}

function canRead(file: string): boolean {
  try {
    execFileSync('test', ['-r', file], { uid: NOBODY, gid: NOBODY });
    return true;
  } catch {
    return false;
  }
}
