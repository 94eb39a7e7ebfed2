import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, SECRET_KEY } from './database';
import { type LoadResult, sendRequests } from './load';
import { pairRequest } from './requests';

/**
 * Who sends requests: how many CPOs in turn, over how many connections. With a `rate` so many requests are sent a second, whether
 * or not the ones before have been answered, as long as a connection is free.
 */
export type Mix = {
  readonly name: string;
  readonly cpos: number;
  readonly connections: number;
  readonly rate?: number;
};

/** Sends requests that were prepared before; this is what is measured. */
export type Run = () => Promise<Pick<LoadResult, 'seconds' | 'latencies'>>;

/** A program that pairs stations in a database of its own. */
export type Target = {
  readonly name: string;
  readonly description: string;
  readonly database: Database;
  /** Fraction of the others' requests that a slow target gets, so that a round does not last too long. */
  readonly share: number;
  /** Process whose CPU time counts beside PostgreSQL's. */
  readonly pid?: number;
  preparePairings(codes: readonly string[], mix: Mix): Promise<Run>;
  /** Waits for work that goes on after the responses, whose CPU time is measured too. */
  settle?(): Promise<void>;
  stop(): Promise<void>;
};
export type HttpTarget = Target & {
  readonly pid: number;
  readonly url: string;
  prepareRequests(requests: readonly string[], status: string, connections: number, rate?: number): Run;
};

/** Beyond what one CPO sends here: incorrect codes are counted, but none is refused with 429. */
const LIMITS = {
  LIMIT_CPO_10MIN: '1000000',
  LIMIT_CPO_24H: '1000000',
  LIMIT_CPO_UID_10MIN: '1000000',
  LIMIT_CPO_UID_24H: '1000000',
  LIMIT_IN_FLIGHT: '512',
};

/** Starts a script of `dist` in production settings on its database. It writes its logs to /dev/null. */
export async function startHttpTarget(
  about: { readonly name: string; readonly description: string; readonly script: string; readonly share?: number },
  database: Database,
  folder: string,
): Promise<HttpTarget> {
  const port = await freePort();
  const settings = { DATABASE_URL: database.url, PORT: String(port), SECRET_KEY, DATA_DIR: folder, ...LIMITS };
  // In production not even a sandbox calls an endpoint on this machine.
  const mode = database.sandbox ? { SANDBOX: 'true', HOST: '127.0.0.1' } : { NODE_ENV: 'production' };
  const child = spawn(process.execPath, [join(__dirname, about.script)], {
    env: { ...mode, ...settings },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  process.once('exit', () => child.kill());
  await waitForPort(port, child);

  const prepareRequests: HttpTarget['prepareRequests'] = (requests, status, connections, rate) => async () => {
    const result = await sendRequests({ port, requests, connections, rate });
    if (result.statuses[status] === requests.length) return result;
    throw new Error(`${about.name} should answer ${status}, but: ${JSON.stringify(result.statuses)}`);
  };
  return {
    share: 1,
    ...about,
    database,
    pid: child.pid as number,
    url: `http://127.0.0.1:${port}`,
    prepareRequests,
    preparePairings: async (codes, { cpos, connections, rate }) => {
      const requests = codes.map((code, i) => pairRequest(database.cpos[i % cpos]!.token, code));
      return prepareRequests(requests, '200', connections, rate);
    },
    async stop() {
      child.kill('SIGTERM');
      await once(child, 'exit');
      await database.sql.end();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

const STARTS_WITHIN_MS = 60_000;

async function waitForPort(port: number, child: ChildProcess): Promise<void> {
  for (const deadline = performance.now() + STARTS_WITHIN_MS; ; await sleep(50)) {
    const socket = connect({ port, host: '127.0.0.1' });
    const connected = await once(socket, 'connect').catch(() => undefined);
    socket.destroy();
    if (connected) return;
    if (child.exitCode !== null) throw new Error(`${child.spawnargs.join(' ')} exited with ${child.exitCode}.`);
    if (performance.now() > deadline) throw new Error(`${child.spawnargs.join(' ')} does not listen after 60 s.`);
  }
}
