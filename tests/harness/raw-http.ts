import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export type RawAnswer = { status: number; headers: Record<string, string>; body: any };

/** A connection on which a test may say anything, and see all that comes back. */
export async function openRaw(url: string) {
  const socket: Socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  const waiting = new Set<() => void>();
  socket.setEncoding('latin1');
  socket.on('data', (chunk) => {
    received += chunk;
    for (const check of waiting) check();
  });
  socket.on('error', () => undefined);
  socket.on('end', () => socket.end());
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await once(socket, 'connect');
  return {
    socket,
    /** Resolves when nothing more will come; what came before. */
    closed: async () => {
      await closed;
      return readAnswers(received);
    },
    /** The first answers as soon as there are so many, or as many as there are when the connection ends. */
    answers: (count: number) =>
      new Promise<RawAnswer[]>((resolve) => {
        const check = () => {
          const found = readAnswers(received);
          if (found.length < count && !socket.closed) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        void closed.then(check);
        check();
      }),
    received: () => received,
    /** Says something again and again, as long as the other side lets it. */
    drip(text: string, everyMs: number) {
      const timer = setInterval(() => socket.writable && socket.write(text), everyMs);
      socket.once('close', () => clearInterval(timer));
    },
  };
}

/** Says something and reads until the other side has closed. */
export async function sayRaw(url: string, text: string): Promise<RawAnswer[]> {
  const raw = await openRaw(url);
  raw.socket.write(text, 'latin1');
  return raw.closed();
}

/** The complete answers in what a connection has received; interim ones (1xx) are left out. */
export function readAnswers(text: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let rest = text; ; ) {
    const head = /^HTTP\/1\.1 (\d{3}) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n/.exec(rest);
    if (head === null) return answers;
    const status = Number(head[1]);
    const headers = Object.fromEntries(
      (head[2] ?? '')
        .split('\r\n')
        .filter(Boolean)
        .map((line) => {
          const [name = '', ...value] = line.split(':');
          return [name.toLowerCase(), value.join(':').trim()];
        }),
    );
    const length = Number(headers['content-length'] ?? 0);
    const body = rest.slice(head[0].length, head[0].length + length);
    if (body.length < length) return answers;
    rest = rest.slice(head[0].length + length);
    if (status >= 200)
      answers.push({ status, headers, body: /json/.test(headers['content-type'] ?? '') ? JSON.parse(body) : body });
  }
}
