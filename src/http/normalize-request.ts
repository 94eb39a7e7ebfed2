import type { RequestHandler } from 'express';
import { Problem } from '../problems';

/** Headers that a proxy and this service could understand differently if they were sent twice. */
const SINGLE_HEADERS = ['host', 'authorization', 'content-type'];

/** U+FFFF, which no id contains, in the place of NUL, which PostgreSQL cannot store: such an id is unknown, like others. */
const NO_CHARACTER = '%EF%BF%BF';

/**
 * Refuses requests that a proxy could read in another way, serves HEAD where there is GET, and reduces a request target in
 * absolute form to its path (RFC 9112, 3.2.2).
 */
export const normalizeRequest: RequestHandler = (req, _res, next) => {
  const { expect, host } = req.headers;
  if (host === undefined && req.httpVersion === '1.1')
    throw new Problem('malformed-request', { message: 'HTTP/1.1 requires a Host header.' });
  const repeated = SINGLE_HEADERS.find((name) => (req.headersDistinct[name]?.length ?? 0) > 1);
  if (repeated !== undefined)
    throw new Problem('malformed-request', { message: `The header ${repeated} may be sent once only.` });
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') throw new Problem('expectation-failed');
  if (!isPercentEncodedUtf8(req.url.split('?', 1)[0] ?? '')) throw new Problem('not-found');
  // Node knows by the original method that the response has no body.
  if (req.method === 'HEAD') req.method = 'GET';
  const [path = '', ...query] = originForm(req.url, host).split('?');
  req.url = [path.replaceAll('%00', NO_CHARACTER), ...query].join('?');
  req.originalUrl = req.url;
  next();
};

function isPercentEncodedUtf8(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

/** Returns a target in absolute form without scheme and host if the host is that of the Host header. */
function originForm(target: string, host = ''): string {
  const [, authority = '', rest = ''] = /^https?:\/\/([^/?]*)(.*)$/i.exec(target) ?? [];
  if (authority === '' || authority.toLowerCase() !== host.toLowerCase()) return target;
  return rest.startsWith('/') ? rest : `/${rest}`;
}
