import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { aStation } from '../harness/harness';
import { secondsUntil, timed } from './fault';

export type Asked = { status: number; headers: Headers; body: any };
type Tokens = { readonly app: string; readonly cpo: string };

async function ask(url: string, token: string, body?: unknown, headers: Record<string, string> = {}): Promise<Asked> {
  const response = await fetch(url, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
}

/** Stands for an answer that was lost with its connection. */
function noAnswer(error: unknown): Asked {
  if (!(error instanceof TypeError && error.message === 'fetch failed')) throw error;
  return { status: 0, headers: new Headers(), body: {} };
}

/** Whether a request was refused because a busy machine had not begun it within two seconds. A stopping service refuses at once. */
export const isTooLate = ({ status, seconds, body }: Asked & { seconds: number }) =>
  status === 503 && seconds > 1.5 && body.type === '/problems/unavailable' && !body.message.includes('stopping');

/** Whether an earlier request with this Idempotency-Key is still under way. After a 503 the key is reserved for up to 30 s. */
export const isUnderWay = ({ status, headers }: Asked) => status === 409 && headers.has('Retry-After');

/** Repeats a request under one Idempotency-Key, as long as it is refused for now; at most for a minute. */
export async function untilDecided(request: (key: string) => Promise<Asked>): Promise<Asked> {
  const key = randomUUID();
  for (const deadline = performance.now() + 60_000; ; ) {
    const answer = await request(key);
    const isDecided = answer.status !== 503 && !isUnderWay(answer);
    if (isDecided || performance.now() > deadline) return answer;
    await sleep(1_000 * Number(answer.headers.get('Retry-After')));
  }
}

/** What an app and a CPO ask, at an address that each request is given. */
export function callers(tokens: Tokens) {
  return {
    issue: (at: string) =>
      ask(`${at}/v1/app/pairing-codes`, tokens.app, { user_id: randomUUID(), charging_location_id: 'home' }),
    follow: (at: string, id: string, wait = 0) => ask(`${at}/v1/app/pairing-codes/${id}?wait=${wait}`, tokens.app),
    pair: (at: string, code: string, uid: string, key?: string, token = tokens.cpo) =>
      ask(
        `${at}/v1/scsp/ocpp2.0.1/pair`,
        token,
        { code, charging_station: aStation(uid) },
        key === undefined ? {} : { 'Idempotency-Key': key },
      ),
    /** The user is new, and so is the code: under a key that was used before, both are those of the first request. */
    redeem: (at: string, cpo_id: string, key: string) => {
      const body = { user_id: key, charging_location_id: 'home', cpo_id, payload_protocol: 'ocpp2.0.1', code: key };
      return ask(`${at}/v1/app/pairings`, tokens.app, body, { 'Idempotency-Key': key });
    },
    unpair: (at: string, uid: string) => ask(`${at}/v1/app/charging-stations/${uid}/unpair`, tokens.app, {}),
    me: (at: string, token: string) => ask(`${at}/v1/scsp/me`, token),
  };
}

/**
 * Eight customers after the other, each: gets a code, waits for what becomes of it, has it used under an
 * Idempotency-Key. What is refused for now, or lost with its connection, is asked again until it is done.
 */
export function startCrowd({ issue, follow, pair }: ReturnType<typeof callers>, at: string) {
  const acknowledged: { uid: string; codeId: string; when: number }[] = [];
  const answers: (Asked & { seconds: number })[] = [];
  let slowest = 0;
  let over = false;
  const asked = async (request: () => Promise<Asked>) => {
    const { seconds, result } = await timed(() => request().catch(noAnswer));
    const answer = { ...result, seconds };
    answers.push(answer);
    return answer;
  };
  const untilDone = async (request: () => Promise<Asked>, done: number) => {
    for (;;) {
      const answer = await asked(request);
      slowest = Math.max(slowest, answer.seconds);
      if (answer.status === done) return answer;
      // Under way: what the contract says. A 503 is asked again at once, to see when it ends.
      if (answer.status === 409) await sleep(1_000 * Number(answer.headers.get('Retry-After')));
    }
  };
  const one = async () => {
    while (!over) {
      const { body: code } = await untilDone(() => issue(at), 201);
      const watching = watch(code.id);
      const [uid, key] = [randomUUID(), randomUUID()];
      await untilDone(() => pair(at, code.code, uid, key), 200);
      acknowledged.push({ uid, codeId: code.id, when: performance.now() });
      await watching;
    }
  };
  const watch = async (id: string) => {
    for (;;) if ((await asked(() => follow(at, id, 10))).body.status === 'used') return;
  };
  const all = Promise.all(Array.from({ length: 8 }, one));
  return {
    acknowledged,
    /** Resolves when each has done what it was at. */
    async stop() {
      over = true;
      await all;
      return { answers, slowest };
    },
  };
}

/** Has a new replica compile its validators: outside production it does so with its first requests. */
export async function warmUp(as: ReturnType<typeof callers>, at: string) {
  const crowd = startCrowd(as, at);
  await secondsUntil(async () => crowd.acknowledged.length > 0, 60);
  await crowd.stop();
}
