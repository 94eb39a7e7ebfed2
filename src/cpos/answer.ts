import type { IncomingHttpHeaders } from 'node:http';
import { parse } from 'content-type';
import type { Dispatcher } from 'undici';
import type { CallOutcome } from '../calls/call';
import { ForbiddenAddress } from '../outbound/address';
import { connectionFailure } from '../outbound/connection-failure';
import { readUpTo } from '../outbound/read-up-to';
import { Problem, type ValidationError } from '../problems';
import { isUid } from '../stations/station';

const ANSWER_LIMIT = 65_536;
/** How long a body is read that does not count, so that its connection can be used again. */
const DISCARD_MS = 1_000;

/** The response of a CPO. */
export type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly bytes: Buffer };

/** What a response means: its outcome for the CPO, and for the caller a value or the problem. */
export type Reading<T> = {
  readonly outcome: CallOutcome;
  /** Why the `outcome` is `invalid-answer`, without values of the response, or `unreachable`. */
  readonly errors?: readonly ValidationError[];
} & ({ readonly value: T } | { readonly problem: Problem });

/** Ends a call that has no complete response. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  constructor(
    readonly reading: Reading<never>,
    /** The status of a response that is too large. */
    readonly status?: number,
  ) {
    super(reading.outcome);
  }
}

/**
 * Reads the body of a response. Of one that is not 200 the status counts, and at most 65,536 bytes are read.
 * @throws NoAnswer `invalid-answer` when that of a 200 is larger than 65,536 bytes
 */
export async function readAll({ body, statusCode }: Dispatcher.ResponseData): Promise<Buffer> {
  const { bytes, truncated } = await readUpTo(body, ANSWER_LIMIT);
  if (!truncated || statusCode !== 200) return bytes;
  const problem = new Problem('cpo-failed', { message: `The CPO's answer is larger than ${ANSWER_LIMIT} bytes.` });
  throw new NoAnswer(invalidAnswer(problem, `is larger than ${ANSWER_LIMIT} bytes`), statusCode);
}

/** Reads and drops the body of a response in the background. Returns an empty one. */
export function discard({ body }: Dispatcher.ResponseData): Buffer {
  body.dump({ limit: ANSWER_LIMIT, signal: AbortSignal.timeout(DISCARD_MS) }).catch(() => undefined);
  return Buffer.alloc(0);
}

/** Returns the media type of a response in lower case, without parameters. A header that was sent twice is none. */
export const mediaTypeOf = ({ headers }: Answer): string => {
  // The types of Node say that there is one at most; undici returns all.
  const type: unknown = headers['content-type'];
  return parse(typeof type === 'string' ? type : '').type;
};

/** Reads a response as one that breaks the contract as a whole. */
function invalidAnswer(problem: Problem, message: string): Reading<never> {
  return { outcome: 'invalid-answer', errors: [{ pointer: '', message }], problem };
}

/** Reads a response with an unexpected status. */
export function unexpected({ status }: Answer): Reading<never> {
  const problem = new Problem('cpo-failed', { message: `The CPO answered ${status}.` });
  return { outcome: status >= 300 && status <= 399 ? 'redirected' : 'rejected', problem };
}

/**
 * Reads a 404 response to a code: an incorrect code only if the body is JSON. A router that does not know the
 * path also responds with 404, but rarely in JSON (contract, section 5).
 */
export function notFound(answer: Answer): Reading<never> {
  if (/^application\/([\w.+-]+\+)?json$/.test(mediaTypeOf(answer)))
    return { outcome: 'incorrect-code', problem: new Problem('incorrect-code') };
  const problem = new Problem('cpo-failed', {
    message: 'The CPO answered 404 without JSON: its base_url or the payload protocol is wrong.',
  });
  return invalidAnswer(problem, 'is a 404 without JSON: the base_url or the payload protocol is wrong');
}

/**
 * Returns the uid in a rejected response if it is valid in a path, so that the CPO can be notified; otherwise
 * undefined.
 */
export function uidIn(bytes: Buffer): string | undefined {
  try {
    const { charging_station, evse } = Object(JSON.parse(bytes.toString('utf8')));
    const { uid } = Object(charging_station ?? evse);
    return isUid(uid) ? uid : undefined;
  } catch {
    return undefined;
  }
}

const STOPPED = 'The service stopped before the CPO answered.';
const FORBIDDEN = "The CPO's address is private or otherwise special and must not be called.";

/** Reads a call that must not be made. */
export const forbiddenAddress = (): Reading<never> => ({
  outcome: 'forbidden-address',
  problem: new Problem('cpo-failed', { message: FORBIDDEN }),
});

/** Says why a call has no response. */
export function failureOf(cause: unknown, timedOut: boolean, stopped: boolean): Reading<never> {
  if (timedOut) return { outcome: 'timed-out', problem: new Problem('cpo-timed-out', { cause }) };
  const failed = (message: string) => new Problem('cpo-failed', { message, cause });
  if (stopped) return { outcome: 'interrupted', problem: failed(STOPPED) };
  if (cause instanceof ForbiddenAddress) return { outcome: 'forbidden-address', problem: failed(FORBIDDEN) };
  const { cause: why, remedy } = connectionFailure(cause);
  const errors = [{ pointer: '', message: `${why}. ${remedy}` }];
  return { outcome: 'unreachable', errors, problem: failed(`The CPO could not be reached: ${why}.`) };
}
