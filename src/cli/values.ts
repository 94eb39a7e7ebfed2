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
  if (/^scsp_(cpo|app|ingest)_/.test(text))
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

/** Parses a position in the feed of events. */
export const position = (text: string) => {
  if (!/^\d{1,18}$/.test(text)) throw new InvalidArgumentError('It must be a position (1 to 18 decimal digits).');
  return text;
};

const MAX_SECRET_LENGTH = 4_096;

/** Reads a secret from standard input, without surrounding white space. Returns undefined if the input is too long. */
async function readSecret(stdin: NodeJS.ReadableStream): Promise<string | undefined> {
  let text = '';
  for await (const chunk of stdin) {
    text += chunk;
    if (text.length > MAX_SECRET_LENGTH) return undefined;
  }
  return text.trim();
}

/** A bearer token (RFC 6750, section 2.1). */
const BEARER_TOKEN = /^[\w.~+/-]+=*$/;

export const isBearerToken = (text: string) => BEARER_TOKEN.test(text);

/**
 * Reads a bearer token from standard input.
 * @throws OperatorError
 */
export async function readToken(stdin: NodeJS.ReadableStream): Promise<string> {
  const token = await readSecret(stdin);
  if (token === undefined || !isBearerToken(token))
    throw new OperatorError('standard input must contain one bearer token');
  return token;
}

/**
 * Reads the secret of a webhook endpoint from standard input, as it was pasted.
 * @throws OperatorError
 */
export async function readWebhookSecret(stdin: NodeJS.ReadableStream): Promise<string> {
  const secret = await readSecret(stdin);
  if (secret === undefined || secret === '')
    throw new OperatorError('standard input must contain the secret of a webhook endpoint (whsec_…)');
  return secret;
}
