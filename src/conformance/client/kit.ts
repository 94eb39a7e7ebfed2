import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ValidateJson } from '../../contract/validate-json';
import { isJson, keyHashOf, readPairBody, type Target, targetOf, tokenIn } from './observe';
import type { ObservedAnswer, ObservedRequest } from './observed';
import { createReplies, problemReply, type Reply } from './replies';
import type { Times } from './times';

export type ClientKit = {
  readonly url: string;
  /** The requests so far, the earliest first. */
  readonly requests: () => readonly ObservedRequest[];
  stop(): Promise<void>;
};

export type KitOptions = {
  readonly validate: ValidateJson;
  readonly host: string;
  readonly port: number;
  /** The token that callers have to send. */
  readonly token: string;
  readonly times: Times;
  /** Called when a request has its answer, or will not get one. */
  onAnswered?(request: ObservedRequest): unknown;
};

/** A caller that repeats without end must not use up the memory: the earliest requests are forgotten. */
const MAX_REQUESTS = 500;
const MAX_BODY = 65_536;

/**
 * Starts a server that plays the service against a CPO's caller. It misbehaves on purpose, by the code of a request, and goes on
 * after a mistake as if the request had been right, so that one run shows all mistakes.
 */
export async function startClientKit(options: KitOptions): Promise<ClientKit> {
  const { validate, host, port, token, times, onAnswered } = options;
  const replies = createReplies(times);
  const requests = new Map<string, ObservedRequest>();
  let count = 0;

  const record = (request: ObservedRequest): void => {
    requests.set(request.requestId, request);
    const [earliest] = requests.keys();
    if (requests.size > MAX_REQUESTS && earliest !== undefined) requests.delete(earliest);
  };

  /** Records a request and returns its answer. */
  const receive = (req: IncomingMessage, at: number, bytes: Buffer): [ObservedRequest, Reply] => {
    const [path = ''] = (req.url ?? '').split('?', 1);
    const target = targetOf(path, replies.isPaired);
    const credentials = tokenIn(req, bytes.toString(), token);
    count += 1;
    const base = { requestId: `kit-${count}`, at, ...target, ...credentials };
    const keyHash = keyHashOf(req);
    const isPair = target.operation === 'pair';
    const { request, ...seen } = isPair ? readPairBody(validate, target.protocol ?? '', bytes) : {};
    const pairing = isPair ? { isJson: isJson(req), ...(keyHash !== undefined && { keyHash }), ...seen } : {};
    const answer = (): Reply => {
      if (credentials.token !== 'header') return unauthorized(credentials.token);
      if (isPair && request === undefined) return problemReply('invalid-request', {}, { errors: seen?.errors ?? [] });
      if (request !== undefined) return replies.pair({ ...request, path, protocol: target.protocol ?? '', keyHash });
      return otherAnswer(target, req.method ?? '');
    };
    return [{ ...base, ...pairing }, answer()];
  };

  const otherAnswer = ({ operation, uid, uidEncoding }: Target, method: string): Reply => {
    if (operation === 'list')
      return method === 'GET' ? replies.list() : problemReply('method-not-allowed', { Allow: 'GET' });
    if (operation !== 'unpair' || uid === undefined) return problemReply('not-found');
    if (method !== 'POST') return problemReply('method-not-allowed', { Allow: 'POST' });
    return uidEncoding === 'once' ? replies.unpair(uid) : problemReply('unknown-station');
  };

  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const at = Date.now();
    const bytes = await readBody(req);
    const [request, reply] =
      bytes === undefined ? [undefined, problemReply('body-too-large')] : receive(req, at, bytes);
    if (request === undefined) return void send(res, reply, 'kit');
    record(request);
    const answered = (outcome: ObservedAnswer['outcome'], sentAt: number): void => {
      const observed = { ...request, answer: answerOf(reply, outcome, sentAt) };
      record(observed);
      onAnswered?.(observed);
    };
    // Taken before the answer is sent: a pause that the caller makes must not look shorter than it was.
    let sentAt: number | undefined;
    const timer = setTimeout(() => {
      sentAt = Date.now();
      if (reply.withheld) req.socket.destroy();
      else send(res, reply, request.requestId);
    }, reply.delayMs ?? 0);
    res.once('close', () => {
      clearTimeout(timer);
      const isSent = res.writableFinished;
      answered(reply.withheld ? 'withheld' : isSent ? 'sent' : 'too late', sentAt ?? Date.now());
    });
  };

  const server = createServer((req, res) => {
    // A connection that breaks off before the body has arrived: there is no request to judge.
    handle(req, res).catch(() => req.socket.destroy());
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    url: addressOf(host, server.address() as AddressInfo),
    requests: () => [...requests.values()].sort((a, b) => a.at - b.at),
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Returns the address to print: one that a caller on this machine can use. */
function addressOf(host: string, { port, family }: AddressInfo): string {
  if (host === '0.0.0.0' || host === '::') return `http://localhost:${port}`;
  return `http://${family === 'IPv6' && host.includes(':') ? `[${host}]` : host}:${port}`;
}

function unauthorized(token: 'missing' | 'unknown'): Reply {
  const challenge = token === 'missing' ? 'Bearer' : 'Bearer error="invalid_token"';
  return problemReply(token === 'missing' ? 'missing-token' : 'invalid-token', { 'WWW-Authenticate': challenge });
}

/** Reads a body. Returns undefined if it is too large. */
async function readBody(req: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > MAX_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(res: ServerResponse, { status, headers, body }: Reply, requestId: string): void {
  const json = body === undefined ? '' : JSON.stringify(status < 400 ? body : { ...body, request_id: requestId });
  res.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Request-ID': requestId,
    ...headers,
  });
  res.end(json);
}

function answerOf(reply: Reply, outcome: ObservedAnswer['outcome'], at: number): ObservedAnswer {
  const { status, headers = {}, delayMs, hasNewMembers, hasOtherMessage } = reply;
  const retryAfter = headers['Retry-After'];
  return {
    at,
    outcome,
    ...(outcome === 'sent' && { status }),
    ...(retryAfter !== undefined && { retryAfterS: Number(retryAfter) }),
    ...(delayMs !== undefined && { delayMs }),
    ...(hasNewMembers && { hasNewMembers }),
    ...(hasOtherMessage && { hasOtherMessage }),
  };
}
