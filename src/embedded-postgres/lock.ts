import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** The process that owns a data directory. `start` distinguishes it from a later process with the same pid. */
export type Owner = { readonly pid: number; readonly start: string; readonly port?: number };

/**
 * Returns a string that identifies the start of a process among all with its pid; undefined if it is dead or a zombie.
 */
export function processStart(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux') {
      const [state = 'Z', ...start] = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], {
        encoding: 'utf8',
      })
        .trim()
        .split(/\W+/);
      return state.startsWith('Z') ? undefined : start.join('-');
    }
    // The command name, in parentheses, may contain spaces and parentheses.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : `${boot}-${fields[19]}`;
  } catch {
    return undefined;
  }
}

/** Returns the command line of a process, empty if it has ended. */
export function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

/** Returns the owner in the lock file if that process is alive. */
export function liveOwner(file: string): Owner | undefined {
  const owner = readOwner(file);
  return owner && isAlive(owner) ? owner : undefined;
}

/** Takes the lock for this process. Returns undefined on success, otherwise the live process that holds it. */
export function takeLock(file: string): Owner | undefined {
  const me = self();
  for (;;) {
    if (create(file, me)) return undefined;
    const owner = readOwner(file);
    if (!owner) continue;
    if (isAlive(owner)) return owner;

    // A process must hold the claim on a dead owner and read the record again before it replaces it. Otherwise it could
    // overwrite the record of a process that has just taken over.
    const claim = `${file}.${owner.pid}-${owner.start}`;
    const rival = takeLock(claim);
    if (rival) return rival;
    try {
      if (isSame(readOwner(file), owner)) {
        replace(file, me);
        return undefined;
      }
    } finally {
      rmSync(claim, { force: true });
    }
  }
}

/** Publishes the port of the database in the lock file, if this process holds the lock. */
export function publishPort(file: string, port: number): void {
  if (isSame(readOwner(file), self())) replace(file, { ...self(), port });
}

/** Releases the lock. Does nothing if another process holds it, which is possible after the directory was deleted. */
export function releaseLock(file: string): void {
  if (isSame(readOwner(file), self())) rmSync(file, { force: true });
}

function self(): Owner {
  return { pid: process.pid, start: processStart(process.pid) ?? 'unknown' };
}

function isSame(one: Owner | undefined, other: Owner): boolean {
  return one?.pid === other.pid && one.start === other.start;
}

function isAlive(owner: Owner): boolean {
  return processStart(owner.pid) === owner.start;
}

function readOwner(file: string): Owner | undefined {
  const text = readIfThere(file);
  if (text === undefined) return undefined;
  const [pid = '', start, port] = text.split(' ');
  // A power failure truncated the record, so that its owner is dead.
  if (!start) return { pid: 0, start: 'unreadable' };
  return { pid: Number(pid), start, ...(port && { port: Number(port) }) };
}

/** Reads a file that other processes may delete at any moment; returns undefined if it does not exist. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Links a complete file into place, so that nobody reads a partial record. Returns false if the file exists. */
function create(file: string, owner: Owner): boolean {
  const draft = write(file, owner);
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function replace(file: string, owner: Owner): void {
  renameSync(write(file, owner), file);
}

function write(file: string, { pid, start, port }: Owner): string {
  const draft = `${file}.${randomUUID()}`;
  writeFileSync(draft, [pid, start, port].join(' ').trimEnd(), { mode: 0o644 });
  return draft;
}

function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
