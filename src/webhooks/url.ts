import { isForbidden } from '../outbound/address';
import { Problem } from '../problems';

/**
 * Checks the URL of a webhook endpoint. A host that does not resolve at present is accepted: every connection checks its addresses
 * again.
 * @param loopback whether loopback is allowed, also over http
 * @throws Problem `invalid-request` with the pointer `/url`
 */
export async function checkUrl(text: string, loopback: boolean): Promise<void> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !(url.protocol === 'https:' || (loopback && url.protocol === 'http:')))
    throw invalid('must be a URL that begins with https://');
  // The parser drops spaces and control characters, and the URL is kept as it was sent.
  if (/[\s\p{C}]/u.test(text)) throw invalid('must not contain spaces or control characters');
  // The parser takes them for slashes.
  if (text.includes('\\')) throw invalid('must not contain backslashes');
  if (url.username !== '' || url.password !== '' || text.includes('#'))
    throw invalid('must have no user, password or fragment');
  if (await isForbidden(url, loopback))
    throw invalid('must not be at a private, loopback or otherwise special address');
}

const invalid = (message: string) => new Problem('invalid-request', { errors: [{ pointer: '/url', message }] });
