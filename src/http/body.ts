import type { Request, RequestHandler, Response } from 'express';
import { JsonError, parseJson } from '../contract/parse-json';
import { Problem } from '../problems';

export const BODY_LIMIT = 65_536;
const EMPTY = Buffer.alloc(0);

export function takesBody(req: Request): boolean {
  return req.openapi?.schema.requestBody?.content !== undefined;
}

/** Reads and parses the body of an operation that has one, after authentication (contract, section 3, step 3). */
export const readBody: RequestHandler = async (req, res, next) => {
  // The validator compiles and keeps a validator for each content type it meets, parameters included.
  if (!takesBody(req)) {
    delete req.headers['content-type'];
    return next();
  }
  checkMediaType(req);
  req.headers['content-type'] = 'application/json';
  const bytes = await collect(req, res);
  try {
    req.body = parseJson(bytes);
    res.locals.bodyBytes = bytes;
  } catch (error) {
    if (error instanceof JsonError)
      throw new Problem('malformed-request', { errors: [error.validationError], cause: error });
    throw error;
  }
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
    throw new Problem('unsupported-media-type', {
      message: 'The body must not be compressed: leave Content-Encoding out.',
    });
}

function collect(req: Request, res: Response): Promise<Buffer> {
  if (Number(req.get('Content-Length') ?? 0) > BODY_LIMIT) throw new Problem('body-too-large');
  if (req.get('Expect') !== undefined) res.writeContinue();
  return new Promise((resolve, reject) => {
    let bytes: Buffer = EMPTY;
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      const before = size;
      size += chunk.length;
      if (size > BODY_LIMIT) {
        // What still comes is discarded, by this listener and, once the answer is out, by Node.
        bytes = EMPTY;
        return reject(new Problem('body-too-large'));
      }
      // Most bodies come in one piece. Pieces of a byte each, kept as they come, would take 200 times their size.
      if (before === 0) bytes = chunk;
      else bytes = append(bytes, before, chunk);
    });
    req.on('end', () => resolve(bytes.subarray(0, size)));
    req.on('close', () => req.readableEnded || reject(new Problem('request-timeout')));
  });
}

/** Copies a chunk behind the first bytes of a buffer, or into a larger one when it does not fit. */
function append(bytes: Buffer, size: number, chunk: Buffer): Buffer {
  const fits = size + chunk.length <= bytes.length;
  const target = fits ? bytes : Buffer.alloc(Math.max(2 * size, size + chunk.length));
  if (!fits) bytes.copy(target, 0, 0, size);
  chunk.copy(target, size);
  return target;
}
