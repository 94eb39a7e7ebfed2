import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Times in ms from `data.paired_at` to the arrival of each event, by `Date.now()`, which service and PostgreSQL share. */
export type Notes = { readonly webhooks: number[]; readonly feed: number[] };

type Feed = { readonly url: string; readonly token: string };
type Order = {
  /** Follows a feed from its end on. */
  readonly follow?: Feed;
  /** Begins to note arrivals; webhooks are answered after so many ms. */
  readonly noteAndAnswerAfterMs?: number;
  /** Ends noting when so many events have come by the feed, and returns the notes. */
  readonly expected?: number;
};
type Reply = Notes & { readonly port: number };

const ANSWERS_WITHIN_MS = 120_000;

/** A process that receives webhooks and follows the feed, so that its CPU time is not counted as the service's. */
export type Observer = { order(order: Order): Promise<Reply>; stop(): void };

export function startObserver(): Observer {
  const child = fork(__filename);
  child.on('error', () => undefined);
  child.once('exit', (code) => code !== 0 && child.emit('error', new Error('The receiver of webhooks failed.')));
  return {
    async order(order) {
      const reply = once(child, 'message', { signal: AbortSignal.timeout(ANSWERS_WITHIN_MS) });
      child.send(order);
      return (await reply)[0];
    },
    stop: () => child.disconnect(),
  };
}

type Received = { readonly data: { readonly paired_at: string } };

let notes: Notes = { webhooks: [], feed: [] };
let since = Number.POSITIVE_INFINITY;
let answerAfterMs = 0;
/** Attempts after the first do not count. */
const received = new Set<string>();

function note(list: number[], { data }: Received, arrivedAt: number): void {
  const pairedAt = Date.parse(data.paired_at);
  if (pairedAt >= since) list.push(arrivedAt - pairedAt);
}

async function receive(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk);
  const arrivedAt = Date.now();
  const attempt = `${req.url} ${req.headers['webhook-id']}`;
  if (since <= arrivedAt && !received.has(attempt)) {
    received.add(attempt);
    note(notes.webhooks, JSON.parse(Buffer.concat(chunks).toString()), arrivedAt);
  }
  if (answerAfterMs > 0) await sleep(answerAfterMs);
  res.writeHead(204).end();
}

async function readFeed({ url, token }: Feed, query: string): Promise<{ items: Received[]; next_after: string }> {
  const response = await fetch(`${url}/v1/events?${query}`, { headers: { authorization: `Bearer ${token}` } });
  if (response.status !== 200) throw new Error(`The feed answered ${response.status}.`);
  return (await response.json()) as { items: Received[]; next_after: string };
}

async function follow(feed: Feed, from: string): Promise<never> {
  for (let after = from; ; ) {
    const { items, next_after } = await readFeed(feed, `after=${after}&limit=500&wait=30`);
    const arrivedAt = Date.now();
    for (const event of items) note(notes.feed, event, arrivedAt);
    after = next_after;
  }
}

const server = createServer((req, res) => void receive(req, res));

async function obey(order: Order): Promise<Reply> {
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening');
  if (order.follow !== undefined) void follow(order.follow, (await readFeed(order.follow, 'after=latest')).next_after);
  if (order.noteAndAnswerAfterMs !== undefined) {
    notes = { webhooks: [], feed: [] };
    received.clear();
    answerAfterMs = order.noteAndAnswerAfterMs;
    since = Date.now();
  }
  if (order.expected !== undefined) {
    while (notes.feed.length < order.expected) await sleep(20);
    since = Number.POSITIVE_INFINITY;
  }
  return { ...notes, port: (server.address() as AddressInfo).port };
}

if (require.main === module) {
  process.on('message', (order: Order) => void obey(order).then((reply) => process.send?.(reply)));
  process.once('disconnect', () => process.exit());
}
