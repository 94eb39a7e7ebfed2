import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';

type Job = {
  readonly port: number;
  readonly requests: readonly string[];
  readonly connections: number;
  /** Requests per second; undefined: as many as are answered. */
  readonly rate?: number | undefined;
};

/** Seconds from the first request to the last response; latencies in ms; number of responses by status. */
export type LoadResult = { seconds: number; latencies: number[]; statuses: Record<string, number> };

/**
 * Sends requests over keep-alive connections, each of which waits for its response before it sends the next. With a `rate` each
 * request has its time; it is late only if no connection is free then.
 * The load generator is a process of its own, so that its CPU time is not counted as the service's.
 */
export async function sendRequests(job: Job): Promise<LoadResult> {
  const generator = fork(__filename);
  generator.once('exit', (code) => code !== 0 && generator.emit('error', new Error('The load generator failed.')));
  generator.send(job);
  const [result] = await once(generator, 'message');
  return result;
}

async function generate({ port, requests, connections, rate }: Job): Promise<LoadResult> {
  const result: LoadResult = { seconds: 0, latencies: [], statuses: {} };
  const startedAt = performance.now();
  const queue = requests
    .map((request, n) => ({ request, dueAt: rate === undefined ? 0 : startedAt + (n * 1000) / rate }))
    .values();
  await Promise.all(Array.from({ length: connections }, () => sendFrom(queue, port, result)));
  return { ...result, seconds: (performance.now() - startedAt) / 1000 };
}

type Due = { readonly request: string; readonly dueAt: number };

/** Sends requests over one connection until the queue, which all connections share, is empty. */
function sendFrom(queue: Iterator<Due>, port: number, { latencies, statuses }: LoadResult): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let response = '';
    let sentAt = 0;
    const sendNext = () => {
      const { value, done } = queue.next();
      if (done) return void socket.end(resolve);
      const waitMs = value.dueAt - performance.now();
      if (waitMs > 0) setTimeout(send, waitMs, value.request);
      else send(value.request);
    };
    const send = (request: string) => {
      sentAt = performance.now();
      socket.write(request);
    };
    socket.on('connect', sendNext).on('error', reject);
    socket.on('close', () => reject(new Error('The server closed a connection before it had answered.')));
    socket.on('data', (chunk) => {
      response += chunk.toString('latin1');
      if (!isComplete(response)) return;
      latencies.push(performance.now() - sentAt);
      const status = response.slice(9, 12);
      statuses[status] = (statuses[status] ?? 0) + 1;
      response = '';
      sendNext();
    });
  });
}

function isComplete(response: string): boolean {
  const head = response.indexOf('\r\n\r\n');
  return head >= 0 && response.length >= head + 4 + Number(/content-length: (\d+)/i.exec(response)?.[1] ?? 0);
}

if (require.main === module)
  process.once(
    'message',
    (job: Job) => void generate(job).then((result) => process.send?.(result, () => process.exit())),
  );
