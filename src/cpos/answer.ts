import type { IncomingHttpHeaders } from 'node:http';
import { parse } from 'content-type';
import type { Dispatcher } from 'undici';
import { Problem } from '../problems';
import { isUid } from '../stations/station';

const ANSWER_LIMIT = 65_536;

/** The response of a CPO. */
export type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly bytes: Buffer };

/**
 * Reads the body of a response.
 * @throws Problem `cpo-failed` when it is larger than 65,536 bytes
 */
export async function readAll(body: Dispatcher.ResponseData['body']): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    // Leaving the loop destroys the stream and its connection.
    if (size > ANSWER_LIMIT)
      throw new Problem('cpo-failed', { message: `The CPO's answer is larger than ${ANSWER_LIMIT} bytes.` });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Returns the media type of a response in lower case, without parameters. */
export const mediaTypeOf = ({ headers }: Answer): string => parse(headers['content-type'] ?? '').type;

/** Creates the problem for a response with an unexpected status. */
export const answered = (status: number) => new Problem('cpo-failed', { message: `The CPO answered ${status}.` });

/**
 * Creates the problem for a 404 response to a code: an incorrect code only if the body is JSON. A router that does not know the
 * path also responds with 404, but rarely in JSON (contract, section 5).
 */
export function notFound(answer: Answer): Problem {
  if (/^application\/([\w.+-]+\+)?json$/.test(mediaTypeOf(answer))) return new Problem('incorrect-code');
  return new Problem('cpo-failed', {
    message: 'The CPO answered 404 without JSON: its base_url or the payload protocol is wrong.',
  });
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
