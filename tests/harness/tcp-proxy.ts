import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { endLater } from './clean-up';
import { listenOn } from './listen';

/** A TCP proxy before PostgreSQL that can do what networks do. */
export async function startProxy(target: string) {
  let { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const dead = new WeakSet<Socket>();
  let silent = false;
  let unanswered: string | undefined;
  let delayMs = 0;
  const server = createServer((inner) => {
    const outer = connect(Number(port), hostname);
    let ignored = false;
    inner.on('data', (chunk) => {
      ignored ||= unanswered !== undefined && chunk.includes(unanswered);
    });
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(from);
      /** Resolves when all chunks so far have been written: one that is not delayed any more must not overtake another. */
      let written: Promise<unknown> = Promise.resolve();
      from.on('data', (chunk) => {
        if (silent || dead.has(from) || (ignored && to === inner)) return;
        const due = delayMs === 0 ? undefined : sleep(delayMs);
        written = Promise.all([written, due]).then(() => to.write(chunk));
      });
      from.on('close', () => {
        sockets.delete(from);
        if (!silent && !dead.has(from)) to.destroy();
      });
      from.on('error', () => undefined);
    }
  });
  const bound = await listenOn(server);
  const url = new URL(target);
  url.host = `127.0.0.1:${bound}`;
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };

  const proxy = {
    url: url.href,
    /** Packets vanish, connections stay. */
    swallow() {
      silent = true;
    },
    /** What says this gets through, and nothing comes back on its connection. */
    swallowAnswersTo(text: string) {
      unanswered = text;
    },
    /** Every packet is late by so much. */
    delay(ms: number) {
      delayMs = ms;
    },
    /** The host behind the present connections has died: nothing comes from it, not even their end. New ones are good. */
    bury() {
      for (const socket of sockets) dead.add(socket);
    },
    cut,
    /** Connections are cut, and new ones go to another server. */
    switchTo(other: string) {
      ({ hostname, port } = new URL(other));
      cut();
    },
    /** Connections are cut and new ones refused. */
    async down() {
      server.close();
      cut();
      await once(server, 'close');
    },
    async up() {
      silent = false;
      unanswered = undefined;
      cut();
      if (!server.listening) await listenOn(server, bound);
    },
    async stop() {
      cut();
      if (server.listening) server.close();
    },
  };
  endLater(() => proxy.stop());
  return proxy;
}
