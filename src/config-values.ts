import { makeValidator } from 'envalid';
import ipaddr from 'ipaddr.js';

const range = (kind: string, pattern: RegExp) => (min: number, max: number) =>
  makeValidator((input: string) => {
    if (!pattern.test(input) || Number(input) < min || Number(input) > max)
      throw new Error(`must be a ${kind} from ${min} to ${max}`);
    return Number(input);
  });
export const whole = range('whole number', /^\d+$/);
export const decimal = range('number', /^\d+(\.\d+)?$/);

const begins = (input: string, schemes: readonly string[]) => schemes.some((scheme) => input.startsWith(`${scheme}//`));
const beginning = (schemes: readonly string[]) => schemes.map((scheme) => `${scheme}//`).join(' or ');

/** Validates an HTTP origin or base URL, without credentials, query and fragment. */
export const url = (...schemes: string[]) =>
  makeValidator((input: string) => {
    if (!URL.canParse(input) || !begins(input, schemes))
      throw new Error(`must be a URL that begins with ${beginning(schemes)}`);
    const { search, hash, username, password } = new URL(input);
    if (search || hash || username || password) throw new Error('must be a URL without user, query and fragment');
    return input.replace(/\/$/, '');
  });

const POSTGRES = ['postgres:', 'postgresql:'];

/** Validates a PostgreSQL connection URL. Messages must not contain it: it may hold a password. */
export const databaseUrl = makeValidator((input: string) => {
  if (!begins(input, POSTGRES)) throw new Error(`must be a URL that begins with ${beginning(POSTGRES)}`);
  if (!isDatabaseUrl(input))
    throw new Error(
      'must be a URL in which user, password and database are percent-encoded: # is %23, / is %2F, ? is %3F, @ is %40, % is %25',
    );
  return input.replace(/\/$/, '');
});

/**
 * Returns whether a connection URL is percent-encoded correctly. A reserved character in a password ends the authority early,
 * so that the rest of it is parsed as a path, query or fragment.
 */
function isDatabaseUrl(input: string): boolean {
  if (!URL.canParse(input)) return false;
  const { username, password, pathname, search, hash } = new URL(input);
  if (hash !== '' || pathname.includes('@') || (username === '' && search.includes('@'))) return false;
  try {
    for (const part of [username, password, pathname]) decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

/** Validates the name of an operator in the audit log. */
export const operatorName = makeValidator((input: string) => {
  if (!/^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u.test(input)) throw new Error('must have 1 to 128 printable characters');
  return input;
});

/** Validates the `Contact` field of security.txt (RFC 9116, section 2.5.3). */
export const contact = makeValidator((input: string) => {
  if (!URL.canParse(input) || !/^(mailto:[^\s@]+@[^\s@]+|https:\/\/\S+)$/.test(input))
    throw new Error('must be a URI that begins with mailto: or https://');
  return input;
});

/** Validates a comma-separated list of IP addresses and CIDR ranges. */
export const addresses = makeValidator((input: string) => {
  const list = input.split(',').map((part) => part.trim());
  const valid = (text: string) => ipaddr.isValid(text) || ipaddr.isValidCIDR(text);
  if (!list.every(valid))
    throw new Error('must be a comma-separated list of IP addresses or ranges such as 192.0.2.0/28');
  return list;
});

export const flag = makeValidator((input: string) => {
  if (input !== 'true' && input !== 'false') throw new Error('must be true or false');
  return input === 'true';
});
