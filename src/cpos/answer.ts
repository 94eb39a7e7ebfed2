import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { Problem } from '../problems';

const ANSWER_LIMIT = 65_536;

/** What a CPO answered to a call. */
export type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly bytes: Buffer };

/** @throws Problem `cpo-failed` when it is too large */
export async function readAll(body: Dispatcher.ResponseData['body']): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    // Leaving the loop destroys the stream, and with it the connection.
    if (size > ANSWER_LIMIT)
      throw new Problem('cpo-failed', { message: `The CPO's answer is larger than ${ANSWER_LIMIT} bytes.` });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export const answered = (status: number) => new Problem('cpo-failed', { message: `The CPO answered ${status}.` });

/** A 404 to a code. A router that does not know the path answers 404 too, but hardly in JSON. */
export function notFound({ headers }: Answer): Problem {
  if (/^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(String(headers['content-type'])))
    return new Problem('incorrect-code');
  return new Problem('cpo-failed', {
    message:
      'The CPO answered 404 without JSON: nothing is served there, its base_url or the payload protocol is wrong.',
  });
}

/** Of an answer that was not taken: a uid that the CPO can be called with. */
export function uidIn(bytes: Buffer): string | undefined {
  try {
    const { charging_station, evse } = Object(JSON.parse(bytes.toString('utf8')));
    const { uid } = Object(charging_station ?? evse);
    return typeof uid === 'string' && /^[\x20-\x7e]{1,48}$/.test(uid) && uid !== '.' && uid !== '..' ? uid : undefined;
  } catch {
    return undefined;
  }
}
