import type { Request, RequestHandler, Response } from 'express';
import { type ParseError, parse as parseTolerantly, printParseErrorCode } from 'jsonc-parser';
import { type Fault, Problem } from '../problems';

export const BODY_LIMIT = 65_536;
const MAX_DEPTH = 64;

/**
 * Reads and parses the body of an operation that has one, after authentication (contract, section 3, step 3).
 * Its own code because body-parser takes invalid UTF-8 for U+FFFD, which makes one uid of two.
 */
export const readBody: RequestHandler = async (req, res, next) => {
  if (req.openapi?.schema.requestBody?.content === undefined) return next();
  checkMediaType(req);
  // The validator compiles and keeps a validator for each content type it meets, parameters included.
  req.headers['content-type'] = 'application/json';
  const bytes = await collect(req, res);
  req.body = parseJson(decode(bytes));
  next();
};

function checkMediaType(req: Request): void {
  const [type = '', ...parameters] = (req.get('Content-Type') ?? '').split(';').map((part) => part.trim());
  if (type.toLowerCase() !== 'application/json') throw new Problem('unsupported-media-type');
  const charset = parameters.map((parameter) => /^charset\s*=\s*"?([^"]*)"?$/i.exec(parameter)?.[1]).find(Boolean);
  if (charset !== undefined && !/^utf-?8$/i.test(charset))
    throw new Problem('unsupported-media-type', { message: 'The body must be in UTF-8.' });
  const encoding = req.get('Content-Encoding') ?? 'identity';
  if (encoding.toLowerCase() !== 'identity')
    throw new Problem('unsupported-media-type', { message: 'The body must not be compressed: leave Content-Encoding out.' });
}

function collect(req: Request, res: Response): Promise<Buffer> {
  if (Number(req.get('Content-Length') ?? 0) > BODY_LIMIT) throw new Problem('body-too-large');
  if (req.get('Expect') !== undefined) res.writeContinue();
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= BODY_LIMIT) return chunks.push(chunk);
      // What still comes is discarded, by this listener and, once the answer is out, by Node.
      chunks.length = 0;
      return reject(new Problem('body-too-large'));
    });
    req.on('end', () => resolve(Buffer.concat(chunks)));
    req.on('close', () => reject(new Problem('request-timeout')));
  });
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw malformed('', 'is not valid UTF-8', cause);
  }
}

function parseJson(text: string): unknown {
  if (text.trim() === '') throw malformed('', 'is empty, must be JSON');
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw malformed('', whereJsonBreaks(text));
  }
  // Neither more nesting than brackets, nor NUL or surrogates without an escape: most bodies need no walk.
  if ((text.match(/[[{]/g)?.length ?? 0) > MAX_DEPTH || text.includes('\\u')) {
    const fault = unstorable(body);
    if (fault !== undefined) throw malformed(fault.pointer, fault.message);
  }
  return body;
}

/** JSON.parse tells where only sometimes, and quotes the body; its cause is left out for that. */
function whereJsonBreaks(text: string): string {
  const errors: ParseError[] = [];
  parseTolerantly(text, errors, { disallowComments: true });
  const [first] = errors;
  if (first === undefined) return 'is not valid JSON';
  const lines = text.slice(0, first.offset).split('\n');
  const words = printParseErrorCode(first.error).replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).trim();
  return `is not valid JSON at line ${lines.length}, column ${(lines.at(-1)?.length ?? 0) + 1}: ${words}`;
}

const escapePointer = (segment: string) => segment.replaceAll('~', '~0').replaceAll('/', '~1');

/** The first place that PostgreSQL could not store or that is nested too deep. A list, not recursion: 30,000 levels fit in a body. */
function unstorable(body: unknown): Fault | undefined {
  const open: { value: unknown; pointer: string; depth: number }[] = [{ value: body, pointer: '', depth: 0 }];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const { value, pointer, depth } = at;
    if (typeof value === 'string' && !storable(value)) return { pointer, message: UNSTORABLE };
    if (typeof value !== 'object' || value === null) continue;
    if (depth === MAX_DEPTH) return { pointer, message: `is nested more than ${MAX_DEPTH} deep` };
    for (const [name, child] of Object.entries(value)) {
      if (!storable(name)) return { pointer, message: `has a member whose name ${UNSTORABLE}` };
      if (typeof child === 'string' || typeof child === 'object')
        open.push({ value: child, pointer: `${pointer}/${escapePointer(name)}`, depth: depth + 1 });
    }
  }
  return undefined;
}

const UNSTORABLE = 'contains NUL or a lone surrogate';
const storable = (text: string) => !text.includes('\0') && text.isWellFormed();

const malformed = (pointer: string, message: string, cause?: unknown) =>
  new Problem('malformed-request', { errors: [{ pointer, message }], cause });
