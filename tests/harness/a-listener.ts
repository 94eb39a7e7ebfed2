import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli';
import { endLater } from './clean-up';
import { close, listenOn } from './listen';

export type Event = { id: string; type: string; timestamp: string; position: string; data: object };

/** Values that a test waits for. */
export function recorder<T>() {
  const values: T[] = [];
  const waiting = new Set<() => void>();
  return {
    values,
    add(value: T) {
      values.push(value);
      for (const check of waiting) check();
    },
    /** Resolves with the values when so many are there. */
    count: (count: number) =>
      new Promise<T[]>((resolve) => {
        const check = () => {
          if (values.length < count) return;
          waiting.delete(check);
          resolve(values);
        };
        waiting.add(check);
        check();
      }),
  };
}

export type Received = { headers: IncomingHttpHeaders; body: string };

/** A receiver of webhooks that answers 204 unless told otherwise. */
export async function startReceiver() {
  const received = recorder<Received>();
  const server = createServer(async (req, res) => {
    let body = '';
    for await (const chunk of req) body += chunk;
    receiver.answer(res, JSON.parse(body));
    received.add({ headers: req.headers, body });
  });
  const port = await listenOn(server);
  endLater(() => close(server));
  const receiver = {
    url: `http://127.0.0.1:${port}/hook?of=mine`,
    received,
    positions: () => received.values.map(({ body }) => Number(JSON.parse(body).position)),
    answer: (res: ServerResponse, _event: Event): unknown => res.writeHead(204).end(),
    down: () => close(server),
    up: () => listenOn(server, port),
  };
  return receiver;
}

export type Settings = Record<string, string>;

/** Starts `scsp events listen`; `lines` are those of standard output, `warnings` those of standard error. */
export function startListening(settings: Settings, args: readonly string[], input: string[] = []) {
  const stop = new AbortController();
  const into = () => {
    const lines = recorder<string>();
    const stream = new Writable({
      write(chunk, _encoding, done) {
        for (const text of String(chunk).split('\n').filter(Boolean)) lines.add(text);
        done();
      },
    });
    return { lines, stream };
  };
  const [stdout, stderr] = [into(), into()];
  const env = { DATA_DIR: join(tmpdir(), 'scsp-of-no-use'), ...settings };
  const shell = {
    env,
    stdin: Readable.from(input),
    stdout: stdout.stream,
    stderr: stderr.stream,
    stopSignal: () => stop.signal,
  };
  const ended = run(['events', 'listen', ...args], shell);
  const end = async () => {
    stop.abort();
    return ended;
  };
  endLater(end);
  return { lines: stdout.lines, warnings: stderr.lines, ended, end, stop: stop.signal };
}
