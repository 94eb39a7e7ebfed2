import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmbedded } from '../src/embedded-postgres/launcher';
import { overHttp, pairRequest, tokenOf } from './contenders';
import { CONNECTIONS, send, wire } from './processes';
import { appToken, type World } from './world';

const PAIRINGS = 20_000;
const AT_ONCE = 500;
/** As many long polls as a replica takes, in two parts. */
const [FIRST, EACH_OF] = [1_000, 4_000];
/** So many connections are opened at a time: the kernel's queue for them is not endless. */
const STEP = 250;
const SETTLE_MS = 1_500;

type Replica = { readonly world: World; readonly port: number; readonly pid: number };

/** Of a process, MB: what is in memory now, and what was at most. */
function memoryOf(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
  return { now: mb('VmRSS'), peak: mb('VmHWM') };
}

type Asked = { readonly socket: Socket; readonly answered: Promise<unknown> };

/** Opens connections, each with a request under way. */
async function ask(port: number, request: string, count: number): Promise<Asked[]> {
  const all: Asked[] = [];
  while (all.length < count) {
    const step = Array.from({ length: STEP }, () => {
      const socket = connect(port, '127.0.0.1');
      socket.write(Buffer.from(request, 'base64'));
      return { socket, answered: once(socket, 'data') };
    });
    await Promise.all(step.map(({ socket }) => once(socket, 'connect')));
    all.push(...step);
  }
  return all;
}

/** What each of many connections takes, beside what the first ones have made the process fetch anyway. */
async function kBOfEach(
  pid: number,
  askMany: (count: number) => Promise<Asked[]>,
): Promise<{ kB: number; open: Asked[] }> {
  const first = await askMany(FIRST);
  await sleep(SETTLE_MS);
  const before = memoryOf(pid).now;
  const open = [...first, ...(await askMany(EACH_OF))];
  await sleep(SETTLE_MS);
  return { kB: ((memoryOf(pid).now - before) * 1024) / EACH_OF, open };
}

function close(open: readonly Asked[]): void {
  for (const { socket } of open) socket.destroy();
}

async function pair(folder: string, { world, port }: Replica, connections: number): Promise<void> {
  const requests = (await world.codes(PAIRINGS)).map((code) => pairRequest(tokenOf(world, 1, 0), code));
  const { statuses } = await send(folder, port, requests, { connections });
  if (statuses['200'] !== PAIRINGS) throw new Error(JSON.stringify(statuses));
}

/** Each is measured on a process of its own, and told in words. */
const FIGURES: readonly ((replica: Replica, folder: string) => Promise<string>)[] = [
  async ({ pid }) => `just started: ${memoryOf(pid).now.toFixed(0)} MB`,
  async (replica, folder) => {
    await pair(folder, replica, CONNECTIONS);
    return `after ${PAIRINGS} pairings from ${CONNECTIONS} callers: ${memoryOf(replica.pid).now.toFixed(0)} MB`;
  },
  async (replica, folder) => {
    await pair(folder, replica, AT_ONCE);
    return `at the peak, with ${AT_ONCE} pairings at once: ${memoryOf(replica.pid).peak.toFixed(0)} MB`;
  },
  async ({ world, port, pid }) => {
    const { kB, open } = await kBOfEach(pid, (count) =>
      ask(port, wire('GET', '/v1/scsp/me', tokenOf(world, 1, 0)), count),
    );
    close(open);
    return `a kept-alive connection that is idle: ${kB.toFixed(0)} kB (${EACH_OF} of them)`;
  },
  async ({ world, port, pid }) => {
    const token = await appToken(world.sql);
    const codes = `http://127.0.0.1:${port}/v1/app/pairing-codes`;
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const body = JSON.stringify({ user_id: 'a user', charging_location_id: 'home' });
    const { id } = (await (await fetch(codes, { method: 'POST', headers, body })).json()) as { id: string };
    // One app may take half of the long polls.
    const other = await appToken(world.sql, 'the other half');
    const polls = [token, other].map((each) => wire('GET', `/v1/app/pairing-codes/${id}?wait=30`, each));
    const { kB, open } = await kBOfEach(pid, async (count) => {
      const halves = await Promise.all(polls.map((poll) => ask(port, poll, count / 2)));
      return halves.flat();
    });
    await fetch(`${codes}/${id}`, { method: 'DELETE', headers });
    await Promise.all(open.map(({ answered }) => answered));
    close(open);
    return [
      `a long poll that waits, with its connection: ${kB.toFixed(0)} kB (${EACH_OF} of them)`,
      `at the peak, when ${open.length} long polls end at once: ${memoryOf(pid).peak.toFixed(0)} MB`,
    ].join('\n');
  },
];

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-memory-'));
  chmodSync(folder, 0o711);
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const postgres = await startEmbedded({ dir: join(folder, 'data') });
  for (const figure of FIGURES) {
    const about = { name: 'memory', what: 'this service', script: '../src/main.js', perRound: 0, warmUp: 0 };
    const replica = await overHttp(folder, postgres.url, about);
    await sleep(SETTLE_MS);
    process.stdout.write(`${await figure({ ...replica, pid: replica.pid ?? 0 }, folder)}\n`);
    replica.stop();
    await replica.world.sql.end();
  }
  await postgres.stop();
}

void main();
