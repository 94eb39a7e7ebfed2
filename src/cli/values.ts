import { InvalidArgumentError } from 'commander';
import { OperatorError } from '../problems';
import { protocols } from '../protocols';

/** Like `user_id` in the contract: no control characters or line separators, counted in code points. */
const PRINTABLE = /^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u;

/**
 * Creates a parser of ids and names, which are stored as given.
 * @throws OperatorError
 */
export const printable = (what: string) => (text: string) => {
  if (!PRINTABLE.test(text)) throw new OperatorError(`${what} must have 1 to 128 printable characters`);
  return text;
};

/**
 * Parses a name and removes surrounding white space.
 * @throws OperatorError
 */
export const name = (text: string) => printable('NAME')(text.trim());

/** Creates a parser of whole numbers. */
export const whole = (min: number, max: number) => (text: string) => {
  if (!/^\d+$/.test(text) || Number(text) < min || Number(text) > max)
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  return Number(text);
};

/**
 * Parses the id of a token. A message must not repeat a token that was given by mistake.
 * @throws OperatorError
 */
export const tokenId = (text: string) => {
  if (/^scsp_(cpo|app)_/.test(text))
    throw new OperatorError('expected the id of the token, not the token itself: scsp token list shows the id');
  return text;
};

/** Parses the payload protocols that a CPO serves. */
export const protocolList = (text: string): readonly string[] | 'all' => {
  if (text === 'all') return text;
  const known = Object.keys(protocols);
  const given = text.split(',').map((one) => one.trim());
  const unknown = given.find((one) => !known.includes(one));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`Unsupported payload protocol "${unknown}". Supported: ${known.join(', ')}.`);
  return known.filter((one) => given.includes(one));
};

const MAX_TOKEN_LENGTH = 4_096;

/**
 * Reads a bearer token (RFC 6750, section 2.1) from standard input.
 * @throws OperatorError
 */
export async function readToken(stdin: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const chunk of stdin) {
    text += chunk;
    if (text.length > MAX_TOKEN_LENGTH) break;
  }
  const token = text.trim();
  if (text.length > MAX_TOKEN_LENGTH || !/^[\w.~+/-]+=*$/.test(token))
    throw new OperatorError('standard input must contain one bearer token');
  return token;
}
