import { parse } from 'content-type';
import type { Request, RequestHandler, Response } from 'express';
import { JsonError, parseJson } from '../contract/parse-json';
import { Problem } from '../problems';

export const BODY_LIMIT = 65_536;
const JSON_TYPE = 'application/json';
/** Of the forms of a sandbox's pages. */
const FORM_TYPE = 'application/x-www-form-urlencoded';
const FORM_LIMIT = 4_096;

export function takesBody(req: Request): boolean {
  return req.openapi?.schema.requestBody?.content !== undefined;
}

function takesForm(req: Request): boolean {
  return Object.hasOwn(req.openapi?.schema.requestBody?.content ?? {}, FORM_TYPE);
}

/** Whether a request without a body was sent to an operation that does not require one. */
function isLeftOut(req: Request): boolean {
  const { 'transfer-encoding': encoding, 'content-length': length = '0' } = req.headers;
  return req.openapi?.schema.requestBody?.required === false && encoding === undefined && length === '0';
}

/** Reads and parses the body of an operation that has one, after authentication (contract, section 3, step 3). */
export const readBody: RequestHandler = async (req, res, next) => {
  // The validator compiles and keeps a validator for each content type that it sees, parameters included.
  if (!takesBody(req) || isLeftOut(req)) {
    delete req.headers['content-type'];
    return next();
  }
  const isForm = takesForm(req);
  checkMediaType(req, isForm);
  req.headers['content-type'] = isForm ? FORM_TYPE : JSON_TYPE;
  const bytes = await collect(req, res, isForm ? FORM_LIMIT : BODY_LIMIT);
  if (isForm) {
    req.body = parseForm(bytes);
    return next();
  }
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

/** Parses a form. Of fields with the same name the last one counts. */
function parseForm(bytes: Buffer): Record<string, string> {
  const fields = Object.fromEntries(new URLSearchParams(bytes.toString('utf8')));
  // PostgreSQL cannot store it.
  if (Object.values(fields).some((value) => value.includes('\0')))
    throw new Problem('malformed-request', { message: 'The form contains a NUL character.' });
  return fields;
}

function checkMediaType(req: Request, isForm: boolean): void {
  const { type, parameters } = parse(req.get('Content-Type') ?? '');
  if (type !== (isForm ? FORM_TYPE : JSON_TYPE))
    throw new Problem('unsupported-media-type', {
      ...(isForm && { message: `The body must be a form: send Content-Type: ${FORM_TYPE}.` }),
    });
  if (parameters.charset && !/^utf-?8$/i.test(parameters.charset))
    throw new Problem('unsupported-media-type', { message: 'The body must be in UTF-8.' });
  const encoding = req.get('Content-Encoding') ?? 'identity';
  if (encoding.toLowerCase() !== 'identity')
    throw new Problem('unsupported-media-type', {
      message: 'The body must not be compressed: leave Content-Encoding out.',
    });
}

/** Copies the body into one buffer: thousands of chunks of a byte each, kept as they come, would take 200 times their size. */
function collect(req: Request, res: Response, limit: number): Promise<Buffer> {
  const tooLarge = () => new Problem('body-too-large', { message: `The body is larger than ${limit} bytes.` });
  const length = Number(req.get('Content-Length') ?? limit);
  if (length > limit) throw tooLarge();
  if (req.get('Expect') !== undefined) res.writeContinue();
  return new Promise((resolve, reject) => {
    const bytes = Buffer.allocUnsafe(length);
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      // Node discards what is still to come once the response has been sent.
      if (size > length) reject(tooLarge());
      else chunk.copy(bytes, size - chunk.length);
    });
    // A copy, because a slice would keep the whole buffer in memory.
    req.on('end', () => resolve(size === length ? bytes : Buffer.from(bytes.subarray(0, size))));
    req.on('close', () => req.readableEnded || reject(new Problem('request-timeout')));
  });
}
