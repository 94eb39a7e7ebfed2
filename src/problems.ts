/**
 * The closed list of problems: adding one is adding a line here and an answer in openapi.yaml.
 * `remedy` is what the problem's own page tells the developer who meets it.
 */
export const problems = {
  'malformed-request': [
    400,
    'Malformed request',
    'The request could not be read.',
    'Send well-formed HTTP and a body of valid JSON in UTF-8, nested at most 64 deep, without NUL and lone surrogates.',
  ],
  'invalid-request': [
    400,
    'Invalid request',
    'The request breaks the contract, see errors.',
    'Each entry of errors names a place (pointer) and what is wrong there. Compare with /docs.',
  ],
  'unsupported-protocol': [
    400,
    'Unsupported payload protocol',
    'Unknown payload-protocol.',
    'Use one of the protocols named in the message as the path segment before /pair.',
  ],
  'missing-token': [
    401,
    'Token missing',
    'This operation needs a bearer token.',
    'Send the header Authorization: Bearer <token>. A token in the query or the body does not count.',
  ],
  'invalid-token': [
    401,
    'Invalid token',
    'The bearer token is unknown, expired or revoked.',
    'Check that the whole token is sent, once, after the word Bearer; ask for a new one when it has expired.',
  ],
  'wrong-role': [
    403,
    'Wrong role',
    'This operation needs a token with another role.',
    'Tokens that begin with scsp_cpo_ are for CPO operations, those with scsp_app_ for the app.',
  ],
  'cpo-suspended': [
    403,
    'CPO suspended',
    'This CPO is suspended.',
    'Ask Jedlix why, and to resume it. Nothing is lost.',
  ],
  'not-found': [
    404,
    'Not found',
    'There is nothing here.',
    'Check the path, case and trailing slash included, and the id in it.',
  ],
  'incorrect-code': [
    404,
    'Incorrect pairing code',
    'Incorrect Code, please check the code and try again.',
    'Ask the customer to compare the code with the one in the app, or to get a new one: a code lives for minutes and pairs once.',
  ],
  'unknown-station': [
    404,
    'Unknown station',
    'The specified charging station is not valid or does not exist.',
    'The uid is unknown, already unpaired, or paired by another CPO. There is nothing left to unpair.',
  ],
  'user-forgotten': [
    404,
    'User forgotten',
    'The user was forgotten while the CPO was asked. Nothing was stored.',
    'Nothing is left to do: the CPO is notified that its station is not paired.',
  ],
  'method-not-allowed': [
    405,
    'Method not allowed',
    'This path does not have that method, see the Allow header.',
    'Use one of the methods in the Allow header.',
  ],
  'request-timeout': [
    408,
    'Request timeout',
    'The request did not arrive in time.',
    'Send the request again, in one go.',
  ],
  'station-already-paired': [
    409,
    'Station already paired',
    'A charging station with this uid is already paired.',
    'If an earlier request timed out, it may have succeeded: this is then its result. Otherwise unpair the station first. The code was not used up.',
  ],
  'cpo-unavailable': [
    409,
    'CPO unavailable',
    'This CPO is suspended or issues no codes of its own.',
    'Let the customer choose one of GET /v1/app/cpos.',
  ],
  'code-already-used': [
    409,
    'Code already used',
    'The code has been used to pair a station and can no longer be cancelled.',
    'Read the code to see its pairing; unpair the station instead.',
  ],
  'idempotency-in-progress': [
    409,
    'Request in progress',
    'A request with this Idempotency-Key is still in progress.',
    'Wait as many seconds as the Retry-After header says, then send the same request again: it gets the answer of the first.',
  ],
  'body-too-large': [
    413,
    'Body too large',
    'The body is larger than 65536 bytes.',
    'Send only what the contract describes.',
  ],
  'unsupported-media-type': [
    415,
    'Unsupported media type',
    'The body must be JSON: send Content-Type: application/json.',
    'Send Content-Type: application/json, UTF-8, and no Content-Encoding.',
  ],
  'expectation-failed': [
    417,
    'Expectation failed',
    'The Expect header can only be 100-continue.',
    'Leave the Expect header out.',
  ],
  'idempotency-key-reused': [
    422,
    'Idempotency key reused',
    'This Idempotency-Key was sent before with another body.',
    'Use a new key for each new request, and the same key and body for a retry.',
  ],
  'too-many-incorrect-codes': [
    429,
    'Too many incorrect codes',
    'Too many incorrect codes, please try again later.',
    'Wait as many seconds as the Retry-After header says. Until then a right code is not accepted either.',
  ],
  'too-many-requests': [
    429,
    'Too many requests',
    'Too many of your requests are being answered at once, please try again.',
    'Wait as many seconds as the Retry-After header says, and send fewer requests at the same time.',
  ],
  'too-many-redemptions': [
    429,
    'Too many redemptions',
    'Too many codes of CPOs were sent for this user, please try again later.',
    'Wait as many seconds as the Retry-After header says. Every request for a user counts, whatever became of it.',
  ],
  'too-many-codes': [
    429,
    'Too many codes',
    'Too many pairing codes were issued for this user, please try again later.',
    'Wait as many seconds as the Retry-After header says. Codes that were cancelled or have expired count too. An active code stays valid.',
  ],
  'headers-too-large': [
    431,
    'Headers too large',
    'The request headers are too large.',
    'Send fewer and shorter headers, 16 KiB in all.',
  ],
  'internal-error': [
    500,
    'Internal error',
    'Something went wrong on our side. Please quote the request_id when you report it.',
    'Try again later. Whether the request took effect can be told by sending it again: a paired station is answered 409.',
  ],
  'cpo-failed': [
    502,
    'CPO failed',
    'The CPO gave no useful answer.',
    'The message says what the CPO answered and what was wrong where. Ask the customer to try a new code; tell the CPO.',
  ],
  'cpo-timed-out': [
    504,
    'CPO timed out',
    'The CPO did not answer in time.',
    'The code may be used up at the CPO. Ask the customer to get a new one.',
  ],
  unavailable: [
    503,
    'Unavailable',
    'The service cannot answer right now, please try again.',
    'Wait as many seconds as the Retry-After header says, then send the request again.',
  ],
} as const satisfies Record<string, readonly [status: number, title: string, message: string, remedy: string]>;

export type ProblemType = keyof typeof problems;

/** One validation error: where (JSON Pointer, RFC 6901) and what. */
export type ValidationError = {
  readonly pointer: string;
  /** In words of the contract; holds nothing of what was sent, so it may be stored and logged. */
  readonly message: string;
  /** What was sent instead, for the caller alone. */
  readonly got?: string;
};

/** The message of a validation error as its caller sees it: `must be an integer, got "1"`. */
export function shownTo({ message, got }: ValidationError): string {
  return got === undefined ? message : `${message}, got ${got}`;
}

/** At most so many validation errors of one request are reported. */
export const MAX_VALIDATION_ERRORS = 100;

/** An expected failure, answered in the one shape of RFC 9457 by `http/failure.ts`. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;
  readonly title: string;
  readonly errors: readonly ValidationError[] | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Of the request that met the problem first, when its answer is given again. */
  readonly requestId: string | undefined;

  constructor(
    readonly type: ProblemType,
    details: {
      message?: string;
      errors?: readonly ValidationError[];
      headers?: Record<string, string>;
      requestId?: string;
      cause?: unknown;
    } = {},
  ) {
    const [status, title, message] = problems[type];
    // It is answered, not looked into: its stack would cost as much as the rest of a refusal.
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(details.message ?? message, { cause: details.cause });
    Error.stackTraceLimit = limit;
    this.status = status;
    this.title = title;
    this.errors = details.errors?.slice(0, MAX_VALIDATION_ERRORS);
    this.headers = details.headers ?? {};
    this.requestId = details.requestId;
  }
}

/**
 * An error that tells the operator what is wrong and what to do: a command prints its message, without a stack. Anything
 * else that is thrown, a built-in RangeError included, is a defect.
 */
export class OperatorError extends Error {
  override readonly name = 'OperatorError';
}
