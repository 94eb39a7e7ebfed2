import { type ProblemType, problems } from './contract/problem-types';

/** A validation error: the location (JSON Pointer, RFC 6901) and the reason. */
export type ValidationError = {
  readonly pointer: string;
  /** In terms of the contract, without any part of the request, so that it may be stored and logged. */
  readonly message: string;
  /** The value that was sent, shown to the caller only. */
  readonly got?: string;
};

/** Returns the message of a validation error as shown to the caller: `must be an integer, got "1"`. */
export function shownTo({ message, got }: ValidationError): string {
  return got === undefined ? message : `${message}, got ${got}`;
}

/** The maximum number of validation errors that are reported for one request. */
export const MAX_VALIDATION_ERRORS = 100;

/** An expected failure. `http/error-response.ts` turns it into a response in the format of RFC 9457. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;
  readonly title: string;
  readonly errors: readonly ValidationError[] | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** The id of the original request, when a stored response is replayed. */
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
    super(details.message ?? message, { cause: details.cause });
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
