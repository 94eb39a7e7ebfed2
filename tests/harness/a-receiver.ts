import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { arrivals } from './arrivals';
import { endLater } from './clean-up';
import { close, listenOn } from './listen';

export type ReceivedEvent = {
  /** As sent, with the query. */
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
  /** When it had arrived, by `performance.now()`. */
  at: number;
};
type Answer = (res: ServerResponse, event: ReceivedEvent) => void;

export const answerStatus =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (res) =>
    void res.writeHead(status, headers).end();

/** A receiver of webhooks that answers as a test says, 204 by default, and keeps what it got. */
export async function startReceiver(answer: Answer = answerStatus(204)) {
  const { received, add, count } = arrivals<ReceivedEvent>();
  let inFlight = 0;
  const server = createServer(async (req, res) => {
    inFlight += 1;
    receiver.most = Math.max(receiver.most, inFlight);
    res.on('close', () => {
      inFlight -= 1;
    });
    let body = '';
    for await (const chunk of req) body += chunk;
    const event = { path: req.url ?? '', headers: req.headers, body, at: performance.now() };
    add(event);
    receiver.answer(res, event);
  });
  const port = await listenOn(server);
  const receiver = {
    answer,
    received,
    /** The most requests in flight at a time. */
    most: 0,
    url: `http://127.0.0.1:${port}/hook`,
    port,
    ids: () => received.map(({ headers }) => String(headers['webhook-id'])),
    /** Resolves when so many requests have come. */
    got: count,
    down: () => close(server),
  };
  endLater(() => receiver.down());
  return receiver;
}

export type Receiver = Awaited<ReturnType<typeof startReceiver>>;
