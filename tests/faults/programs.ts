import { type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { projectFile } from '../../src/contract/document';
import { freePort } from '../harness/listen';
import { secondsUntil } from './fault';

/** A program of Debian's package postgresql, pgbouncer or haproxy; `PATH` may name another. */
export function program(name: string): string {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const places = [...versions.map((version) => join(root, version, 'bin')), ...(process.env.PATH ?? '').split(':')];
  const found = [...places, '/usr/sbin'].map((place) => join(place, name)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`${name} is missing: install Debian's postgresql, pgbouncer and haproxy`);
  return found;
}

/** Neither PostgreSQL nor PgBouncer runs as root. */
export function account(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const [, uid, gid] = readFileSync('/etc/passwd', 'utf8').match(/^postgres:[^:]*:(\d+):(\d+):/m) ?? [];
  return { uid: Number(uid), gid: Number(gid) };
}

export const freePorts = (count: number): Promise<number[]> => Promise.all(Array.from({ length: count }, freePort));

/** Starts what is to end with this process, however that ends. */
export const spawnTied = (file: string, args: string[], options: SpawnOptions) =>
  spawn('setpriv', ['--pdeathsig', 'QUIT', file, ...args], options);

/** A file of `deploy/`, with these of its examples replaced. */
export function deployed(file: string, replacements: readonly (readonly [example: string, ours: string])[]): string {
  let text = readFileSync(projectFile(`deploy/${file}`), 'utf8');
  for (const [example, ours] of replacements) {
    if (!text.includes(example)) throw new Error(`deploy/${file} does not say ${example}`);
    text = text.replaceAll(example, ours);
  }
  return text;
}

/** A program that stays, as the account of PostgreSQL; `stop` ends it. */
export async function daemon(home: string, name: string, args: string[], port: number) {
  const child = spawnTied(program(name), args, { ...account(), cwd: home, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      said += chunk;
    });
  const exited = once(child, 'exit');
  const ended = exited.then(() => Promise.reject(new Error(`${name} ended: ${said}`)));
  ended.catch(() => undefined);
  await Promise.race([ended, secondsUntil(() => connects(port))]);
  return {
    said: () => said,
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

export function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
