import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fchownSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { commandLine, processStart, readIfThere } from './lock';
import { command, dataOption, EmbeddedError, type Programs, runAs } from './programs';

/** A running PostgreSQL server. `ended` resolves with the signal or exit code when it ends for any reason. */
export type Postmaster = { readonly port: number; readonly ended: Promise<string>; stop(): Promise<void> };

type Place = { readonly home: string; readonly data: string; readonly log: string };
type Settings = Readonly<Record<string, string>>;
type Processes = {
  readonly postmaster: ChildProcess;
  readonly guardian: ChildProcess;
  readonly ended: Promise<string>;
};

const STOP_MS = 10_000;
const POLL_MS = 5;

/** Temporary failures: the port has been taken, or backends of a killed postmaster have not exited yet. */
const TRANSIENT = /Address already in use|pre-existing shared memory block/;

/**
 * Stops a postmaster that was left running because its owner and its guardian process both died.
 * @throws EmbeddedError when it does not stop within 10 s
 */
export async function stopOrphan(at: Place): Promise<void> {
  const pid = Number(pidFile(at)[0]);
  const isOurs = () => processStart(pid) !== undefined && commandLine(pid).endsWith(mark(at));
  for (const began = Date.now(); pid && isOurs(); await sleep(POLL_MS)) {
    signal(pid, 'SIGINT');
    if (Date.now() - began < STOP_MS) continue;
    throw new EmbeddedError(
      `PostgreSQL of an earlier run is still running in ${at.home} and does not stop: process ${pid}.`,
    );
  }
  // PostgreSQL mistakes any live process with this pid for a postmaster. Its shared memory check still protects the data.
  rmSync(join(at.data, 'postmaster.pid'), { force: true });
}

/**
 * Starts PostgreSQL on a free port and waits until it is ready, however long crash recovery takes.
 * @throws EmbeddedError with the output of PostgreSQL when it ends instead
 */
export async function launch(at: Place, programs: Programs, settings: Settings): Promise<Postmaster> {
  for (const began = Date.now(); ; await sleep(10 * POLL_MS)) {
    const port = await freePort();
    const logged = statSync(at.log, { throwIfNoEntry: false })?.size ?? 0;
    const processes = spawnGuarded(at, programs, { ...settings, port: String(port) });
    const end = await readyOrEnd(at, processes);
    if (end === undefined) return { port, ended: processes.ended, stop: stopper(processes) };

    const output = readFileSync(at.log).subarray(logged).toString().trim();
    if (TRANSIENT.test(output) && Date.now() - began < STOP_MS) continue;
    throw new EmbeddedError(`PostgreSQL did not start in ${at.home} (${end}): ${output || 'no output'}`);
  }
}

function spawnGuarded(at: Place, programs: Programs, settings: Settings): Processes {
  const parameters = [...Object.entries(settings).map(([name, value]) => `${name}=${value}`), mark(at)];
  const args = [...dataOption(at.data), ...parameters.flatMap((parameter) => ['-c', parameter])];
  const log = openSync(at.log, 'a', 0o600);
  if (programs.account) fchownSync(log, programs.account.uid, programs.account.gid);
  // Detached into a session of its own, so that Ctrl-C reaches only this process, which needs the database while it drains.
  const common = { ...runAs(programs), detached: true };
  const postmaster = spawn(...command(programs, 'postgres', args), {
    ...common,
    cwd: at.data,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  // The kernel closes the guardian's pipe when this process ends for any reason, including kill -9.
  const guardian = spawn('/bin/sh', ['-c', `trap '' HUP INT TERM; read _; kill -INT ${postmaster.pid}`], {
    ...common,
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
  });

  const guardianEnd = endOf(guardian);
  const ended = endOf(postmaster).then(async (how) => {
    guardian.kill('SIGKILL');
    await guardianEnd;
    return how;
  });
  return { postmaster, guardian, ended };
}

/** Waits until the postmaster is ready. Returns undefined, or the signal or exit code if it ended instead. */
async function readyOrEnd(at: Place, { postmaster, guardian, ended }: Processes): Promise<string | undefined> {
  for (;;) {
    const end = await Promise.race([ended, sleep(POLL_MS)]);
    if (end !== undefined) return end;
    const { 0: pid, 7: status } = pidFile(at);
    if (Number(pid) !== postmaster.pid || !status?.startsWith('ready')) continue;

    // From here on the database must not keep this process alive.
    postmaster.unref();
    guardian.unref();
    if (guardian.stdin instanceof Socket) guardian.stdin.unref();
    return undefined;
  }
}

function stopper({ postmaster, guardian, ended }: Processes): () => Promise<void> {
  return async () => {
    postmaster.ref();
    guardian.ref();
    postmaster.kill('SIGINT');
    const timer = setTimeout(() => postmaster.kill('SIGQUIT'), STOP_MS);
    await ended;
    clearTimeout(timer);
  };
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}

function pidFile({ data }: Place): string[] {
  return readIfThere(join(data, 'postmaster.pid'))?.split('\n') ?? [];
}

/** Returns the last argument of the postmaster, which distinguishes it from other processes with its pid. */
function mark({ home }: Place): string {
  return `scsp.folder=${home}`;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // The process has just ended, or may not be signalled. The caller detects both.
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  await once(probe.close(), 'close');
  if (address === null || typeof address === 'string') throw new Error('A TCP server has no port.');
  return address.port;
}
