import { parse } from 'content-type';
import type { Request, RequestHandler, Response } from 'express';
import { JsonError, parseJson } from '../contract/parse-json';
import { Problem } from '../problems';

export const BODY_LIMIT = 65_536;

export function takesBody(req: Request): boolean {
  return req.openapi?.schema.requestBody?.content !== undefined;
}

/** Reads and parses the body of an operation that has one, after authentication (contract, section 3, step 3). */
export const readBody: RequestHandler = async (req, res, next) => {
  // The validator compiles and keeps a validator for each content type that it sees, parameters included.
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
  const { type, parameters } = parse(req.get('Content-Type') ?? '');
  if (type !== 'application/json') throw new Problem('unsupported-media-type');
  if (parameters.charset && !/^utf-?8$/i.test(parameters.charset))
    throw new Problem('unsupported-media-type', { message: 'The body must be in UTF-8.' });
  const encoding = req.get('Content-Encoding') ?? 'identity';
  if (encoding.toLowerCase() !== 'identity')
    throw new Problem('unsupported-media-type', {
      message: 'The body must not be compressed: leave Content-Encoding out.',
    });
}

/** Copies the body into one buffer: thousands of chunks of a byte each, kept as they come, would take 200 times their size. */
function collect(req: Request, res: Response): Promise<Buffer> {
  const length = Number(req.get('Content-Length') ?? BODY_LIMIT);
  if (length > BODY_LIMIT) throw new Problem('body-too-large');
  if (req.get('Expect') !== undefined) res.writeContinue();
  return new Promise((resolve, reject) => {
    const bytes = Buffer.allocUnsafe(length);
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      // Node discards what is still to come once the response has been sent.
      if (size > length) reject(new Problem('body-too-large'));
      else chunk.copy(bytes, size - chunk.length);
    });
    // A copy, because a part of the buffer would keep all of it.
    req.on('end', () => resolve(size === length ? bytes : Buffer.from(bytes.subarray(0, size))));
    req.on('close', () => req.readableEnded || reject(new Problem('request-timeout')));
  });
}
