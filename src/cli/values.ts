import { InvalidArgumentError } from 'commander';
import { OperatorError } from '../problems';
import { protocols } from '../protocols';

/** As in the contract: no controls, no line separators; counted in code points. */
const PRINTABLE = /^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u;

/**
 * Reads an id or name that is kept as it is given.
 * @throws OperatorError
 */
export const printable = (what: string) => (text: string) => {
  if (!PRINTABLE.test(text)) throw new OperatorError(`${what} must have 1 to 128 printable characters`);
  return text;
};

/**
 * Reads a name, without the space around it.
 * @throws OperatorError
 */
export const name = (text: string) => printable('NAME')(text.trim());

export const whole = (min: number, max: number) => (text: string) => {
  if (!/^\d+$/.test(text) || Number(text) < min || Number(text) > max)
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  return Number(text);
};

/**
 * Reads the id of a token. Who gives the token itself has it in the history of a shell: it is not repeated.
 * @throws OperatorError
 */
export const tokenId = (text: string) => {
  if (/^scsp_(cpo|app)_/.test(text)) throw new OperatorError('that is a token, give its id: scsp token list shows it');
  return text;
};

/** Reads the payload protocols that a CPO serves. */
export const protocolList = (text: string): readonly string[] | 'all' => {
  if (text === 'all') return text;
  const known = Object.keys(protocols);
  const given = text.split(',').map((one) => one.trim());
  const unknown = given.find((one) => !known.includes(one));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`Unsupported payload protocol "${unknown}". Supported: ${known.join(', ')}.`);
  return known.filter((one) => given.includes(one));
};

const LONGEST_TOKEN = 4_096;

/**
 * Reads the one bearer token on standard input (RFC 6750, 2.1 says what a token may be).
 * @throws OperatorError
 */
export async function readToken(stdin: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const chunk of stdin) {
    text += chunk;
    if (text.length > LONGEST_TOKEN) break;
  }
  const token = text.trim();
  if (text.length > LONGEST_TOKEN || !/^[\w.~+/-]+=*$/.test(token))
    throw new OperatorError('standard input must hold one bearer token');
  return token;
}
