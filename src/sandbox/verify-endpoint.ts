import { randomUUID } from 'node:crypto';
import { Agent, request } from 'undici';
import { newSpan, type Origin, writeTraceparent } from '../contract/trace-context';
import { checkedLookup, ForbiddenAddress, isForbiddenAsWritten, literalHost, mayCall } from '../outbound/address';
import { readUpTo } from '../outbound/read-up-to';

const DEADLINE_MS = 5_000;
const CONNECT_MS = 4_000;
const MAX_BYTES = 4_096;
const PATH = '/.well-known/scsp-pairing';

/** Asks the server at a base URL whether it wants to be called for a CPO, so that nobody can make this service attack others. */
export class EndpointVerifier {
  readonly #agent: Agent;

  /** @param loopback whether loopback is allowed, also over http */
  constructor(
    readonly loopback: boolean,
    readonly userAgent: string,
  ) {
    this.#agent = new Agent({ connect: { lookup: checkedLookup(loopback), timeout: CONNECT_MS } });
  }

  /**
   * Verifies that `GET {baseUrl}/.well-known/scsp-pairing` answers the id of the CPO. No token is sent and no redirect followed.
   * An endpoint on this machine is not asked.
   * @returns what was seen instead, in words that contain nothing of the answer; undefined if it is verified
   */
  async refusal(baseUrl: string, cpoId: string, { trace }: Origin): Promise<string | undefined> {
    const url = new URL(baseUrl + PATH);
    if (this.loopback && isThisMachine(url)) return undefined;
    if (isForbiddenAsWritten(url, this.loopback)) return 'its address must not be called';
    try {
      const response = await request(url, {
        dispatcher: this.#agent,
        signal: AbortSignal.timeout(DEADLINE_MS),
        headers: {
          accept: 'text/plain',
          'accept-encoding': 'identity',
          'user-agent': this.userAgent,
          traceparent: writeTraceparent(newSpan({ requestId: randomUUID }, trace)),
        },
      });
      const { bytes, truncated } = await readUpTo(response.body, MAX_BYTES);
      if (response.statusCode !== 200) return `it answered ${response.statusCode}`;
      if (truncated) return `it answered 200 with more than ${MAX_BYTES} bytes`;
      return bytes.toString().trim() === cpoId ? undefined : 'it answered 200 with something else';
    } catch (error) {
      return failureOf(error);
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

function isThisMachine(url: URL): boolean {
  const literal = literalHost(url);
  return literal === undefined
    ? /(^|\.)localhost$/.test(url.hostname)
    : mayCall(literal, true) && !mayCall(literal, false);
}

function failureOf(error: unknown): string {
  if (error instanceof ForbiddenAddress) return 'its address must not be called';
  if (error instanceof Error && error.name === 'TimeoutError')
    return `it did not answer within ${DEADLINE_MS / 1_000} s`;
  return 'it could not be reached';
}
