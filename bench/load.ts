import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';

/** One run of a load: prepared requests are sent over so many connections, each waiting for its answer. */
type Job = {
  port: number;
  connections: number;
  /** Each request as it goes over the wire, in base64, one a line. */
  file: string;
  /** Requests per second over all connections; as fast as answers come unless given. */
  rate?: number;
};
export type LoadResult = { seconds: number; statuses: Record<string, number>; latencies: number[] };

/** Reads a job from its argument, prints the result as JSON. A process of its own, so that its CPU is nobody else's. */
async function main(job: Job): Promise<LoadResult> {
  const requests = readFileSync(job.file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => Buffer.from(line, 'base64'));
  const latencies: number[] = [];
  const statuses: Record<string, number> = {};
  let next = 0;
  const began = performance.now();

  const drive = (socket: Socket) =>
    new Promise<void>((resolve, reject) => {
      let sent = 0;
      let pending = Buffer.alloc(0);
      const send = () => {
        const mine = next++;
        const request = requests[mine];
        if (request === undefined) {
          socket.end();
          return resolve();
        }
        const due = job.rate === undefined ? 0 : began + (mine * 1000) / job.rate;
        const wait = due - performance.now();
        const go = () => {
          // At a fixed rate the time that a request waits for its turn counts too.
          sent = job.rate === undefined ? performance.now() : due;
          socket.write(request);
        };
        return wait > 1 ? void setTimeout(go, wait) : go();
      };
      socket.on('data', (chunk) => {
        pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
        const head = pending.indexOf('\r\n\r\n');
        if (head < 0) return;
        const header = pending.toString('latin1', 0, head);
        const length = Number(/content-length: (\d+)/i.exec(header)?.[1] ?? 0);
        if (pending.length < head + 4 + length) return;
        latencies.push(performance.now() - sent);
        const status = header.slice(9, 12);
        statuses[status] = (statuses[status] ?? 0) + 1;
        pending = Buffer.alloc(0);
        send();
      });
      socket.on('error', reject);
      send();
    });

  await Promise.all(
    Array.from(
      { length: job.connections },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true }, () =>
            drive(socket).then(resolve, reject),
          );
          socket.on('error', reject);
        }),
    ),
  );
  return { seconds: (performance.now() - began) / 1000, statuses, latencies };
}

if (require.main === module) {
  void main(JSON.parse(process.argv[2] ?? '')).then((result) => process.stdout.write(JSON.stringify(result)));
}
