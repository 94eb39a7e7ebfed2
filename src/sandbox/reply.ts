import type { ServerResponse } from 'node:http';

/** A response of the sandbox CPO. */
export type Reply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
};

/** What the sandbox CPO does with a request: replies, or without a reply closes the connection, possibly after a while. */
export type Outcome = { readonly reply?: Reply; readonly afterMs?: number };

const JSON_TYPE = { 'content-type': 'application/json' };

/** Creates an outcome with a JSON response. */
export const json = (status: number, body: unknown, headers: Record<string, string> = {}): Outcome => ({
  reply: { status, headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body) },
});

/** Creates an outcome with a response of any media type. */
export const raw = (status: number, type: string, body: string | Buffer): Outcome => ({
  reply: { status, headers: { 'content-type': type }, body },
});

/** Carries out an outcome. A client that disconnects meanwhile gets nothing. */
export function carryOut(res: ServerResponse, { reply, afterMs = 0 }: Outcome): void {
  const act = () => {
    if (reply === undefined) res.destroy();
    else res.writeHead(reply.status, { ...reply.headers }).end(reply.body);
  };
  if (afterMs === 0) return act();
  if (afterMs === Number.POSITIVE_INFINITY) return;
  const timer = setTimeout(act, afterMs);
  res.on('close', () => clearTimeout(timer));
}
