import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { send, wire } from './processes';
import { createWorld, SECRET_KEY, seedStation, type World } from './world';

/** Who calls, and how many requests at once. */
export type Mix = {
  readonly name: string;
  readonly cpos: number;
  readonly connections: number;
  readonly perRound: number;
};

/** Whoever pairs stations in the benchmark, in a database of its own. */
export type Contender = {
  readonly name: string;
  readonly what: string;
  readonly world: World;
  /** Of the requests that the others are given, where it would take too long for all. */
  readonly share?: number | undefined;
  /** Of the process beside PostgreSQL; pgbench does nothing there that counts. */
  readonly pid?: number | undefined;
  /** Makes codes and requests for a round; what it returns sends them. Latencies in ms. */
  prepare(mix: Mix): Promise<() => Promise<{ seconds: number; latencies: number[] }>>;
  stop(): void;
};

const HIGH = '1000000';
/** One CPO sends what a thousand would; incorrect codes are counted, and none is refused. */
export const LIMITS = {
  LIMIT_CPO_10MIN: HIGH,
  LIMIT_CPO_24H: HIGH,
  LIMIT_CPO_UID_10MIN: HIGH,
  LIMIT_CPO_UID_24H: HIGH,
  LIMIT_IN_FLIGHT: '512',
};

let uids = 0;
export const freshUid = () => `bench-${process.pid}-${uids++}-5f69ad2c0ed5`;

/** A request to pair, as it goes over the wire. */
export function pairRequest(token: string, code: string, uid = freshUid()): string {
  return wire('POST', '/v1/scsp/ocpp2.0.1/pair', token, { code, charging_station: seedStation(uid) });
}

/** The tokens of so many CPOs in turn. */
export const tokenOf = (world: World, cpos: number, i: number): string => world.tokens[i % cpos] ?? '';

/** A contender that is reached over HTTP; logs are written, and go nowhere. */
export async function overHttp(
  folder: string,
  adminUrl: string,
  about: Pick<Contender, 'name' | 'what' | 'share'> & { readonly script: string },
): Promise<Contender & { port: number }> {
  const world = await createWorld(adminUrl, about.name);
  const port = await freePort();
  const child = spawn(process.execPath, [join(__dirname, about.script)], {
    env: {
      PATH: process.env.PATH ?? '',
      DATABASE_URL: world.url,
      PORT: String(port),
      NODE_ENV: 'production',
      SECRET_KEY,
      DATA_DIR: folder,
      ...LIMITS,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  process.once('exit', () => child.kill());
  await untilOpen(port, child);
  return {
    ...about,
    port,
    world,
    pid: child.pid,
    async prepare({ perRound, cpos, connections }) {
      const requests = (await world.codes(perRound)).map((code, i) => pairRequest(tokenOf(world, cpos, i), code));
      return async () => {
        const result = await send(folder, port, requests, { connections });
        if (result.statuses['200'] !== perRound) throw new Error(`${about.name}: ${JSON.stringify(result.statuses)}`);
        return result;
      };
    },
    stop: () => void child.kill('SIGTERM'),
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function untilOpen(port: number, child: ChildProcess): Promise<void> {
  const opens = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.end());
    });
  while (!(await opens())) {
    if (child.exitCode !== null) throw new Error(`nothing on port ${port}: it ended with ${child.exitCode}`);
    await sleep(50);
  }
}
