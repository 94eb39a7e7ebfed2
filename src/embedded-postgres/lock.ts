import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** The process a data folder belongs to; `start` tells it from a later process with the same pid. */
export type Owner = { readonly pid: number; readonly start: string; readonly port?: number };

/** When the process started, in a form that no other process with this pid shares; undefined once it is dead or a zombie. */
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
    // The command, in parentheses, may itself hold spaces and parentheses.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : `${boot}-${fields[19]}`;
  } catch {
    return undefined;
  }
}

/** The arguments the process was started with, as one text; empty when it is gone. */
export function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

/** The live owner that the lock file names, if there is one. */
export function liveOwner(file: string): Owner | undefined {
  const owner = readOwner(file);
  return owner && isAlive(owner) ? owner : undefined;
}

/** Makes this process the owner. Returns the live owner that is in the way, or undefined when the lock is ours. */
export function takeLock(file: string): Owner | undefined {
  const me = self();
  for (;;) {
    if (create(file, me)) return undefined;
    const owner = readOwner(file);
    if (!owner) continue;
    if (isAlive(owner)) return owner;

    // Who replaces a dead owner's record must hold the claim on that owner and look again: without it,
    // a process that read the record a moment ago would throw out the one that has just taken over.
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

/** Tells others, in a lock that is ours, the port on which the database answers. */
export function publishPort(file: string, port: number): void {
  if (isSame(readOwner(file), self())) replace(file, { ...self(), port });
}

/** Gives the lock back; one that is no longer ours (the folder was deleted and made anew) is left alone. */
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
  // A record cut short by a power failure belongs to nobody who lives.
  if (!start) return { pid: 0, start: 'unreadable' };
  return { pid: Number(pid), start, ...(port && { port: Number(port) }) };
}

/** The text of a file that others may remove at any moment; undefined when they did. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Links a finished file into place, so that nobody reads half a record; false when there is one already. */
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
