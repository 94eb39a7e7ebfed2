import { gzipSync } from 'node:zlib';
import { json, raw } from '../reply';
import { changing, isFirstUnpair, type Mutant, withoutHeader } from './change';

/** The size of a response that is too large. */
const TOO_LARGE = 70_000;

/** Each breaks the rule of the check that it is named after. */
export const transportMutants = {
  'transport-base-url': changing(
    () => true,
    (_outcome, { method, path }) => json(404, { message: `Cannot ${method} ${path}` }),
  ),
  'transport-answer-time': changing(isFirstUnpair, () => ({ afterMs: Number.POSITIVE_INFINITY })),
  'transport-no-redirect': changing(isFirstUnpair, () => ({
    reply: { status: 307, headers: { location: 'http://169.254.169.254/latest' }, body: '' },
  })),
  'transport-json': changing(isFirstUnpair, () => raw(404, 'text/html', '<h1>Not found</h1>')),
  'transport-utf8': changing(isFirstUnpair, () =>
    raw(404, 'application/json', Buffer.from('{"message": "Unbekannte Ladestation für Köln"}', 'latin1')),
  ),
  'transport-size': changing(isFirstUnpair, () => json(404, { message: 'x'.repeat(TOO_LARGE) })),
  'transport-no-compression': changing(isFirstUnpair, () => ({
    reply: {
      status: 404,
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: gzipSync('{"message": "unknown"}'),
    },
  })),
  'transport-unknown-headers': changing(
    ({ headers }) => headers['x-scsp-conformance'] !== undefined,
    () => json(400, { message: 'Unknown header.' }),
  ),
  'transport-allow': changing(
    ({ method }) => method === 'GET',
    (outcome) => withoutHeader(outcome, 'allow'),
  ),
} satisfies Record<string, Mutant>;
