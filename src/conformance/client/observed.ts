import type { ValidationError } from '../../problems';

/**
 * A request of a CPO's caller and its answer, as far as the checks need it: no token, no code of a customer, no body. Times are
 * milliseconds since 1970.
 */
export type ObservedRequest = {
  readonly requestId: string;
  readonly at: number;
  /** `list`: the CPO's own stations. `redirected`: where a redirect led. `other`: any other path. */
  readonly operation: 'pair' | 'unpair' | 'list' | 'redirected' | 'other';
  readonly protocol?: string;
  readonly uid?: string;
  /** The code as it was typed, if it is a test code (`isTestCode`). */
  readonly code?: string;
  /** How the code was sent: as the string that was typed, as a number, or without its leading zeros. */
  readonly codeSentAs?: 'string' | 'number' | 'shortened';
  /** `header`: a known token was in the header. */
  readonly token: 'header' | 'missing' | 'unknown';
  /** Where else the token was. */
  readonly tokenAlsoIn?: 'address' | 'body' | 'another header';
  /** Whether the body was uncompressed `application/json`. */
  readonly isJson?: boolean;
  /** Validation errors of the body, at most three. */
  readonly errors?: readonly ValidationError[];
  /** How the `uid` was encoded in the path of an unpair. */
  readonly uidEncoding?: 'once' | 'twice' | 'none';
  /** A hash of the `Idempotency-Key`. */
  readonly keyHash?: string;
  /** Undefined while the request is under way. */
  readonly answer?: ObservedAnswer;
};

export type ObservedAnswer = {
  readonly at: number;
  /** `withheld`: none was sent, and the connection was closed. `too late`: the caller had closed it. */
  readonly outcome: 'sent' | 'withheld' | 'too late';
  readonly status?: number;
  readonly retryAfterS?: number;
  /** How long the answer took on purpose, in milliseconds. */
  readonly delayMs?: number;
  /** The `message` was not the one of the examples in the contract. */
  readonly hasOtherMessage?: true;
  /** The answer had members that the contract does not have. */
  readonly hasNewMembers?: true;
};

/** Returns whether a code is one that only the kit and sandbox deployments give a meaning. */
export function isTestCode(code: string): boolean {
  return /^(000\d{3}|1\d{5}|012345)$/.test(code);
}

/** Returns the test code that a caller sent without its leading zeros, or as a number. */
export function restoredTestCode(sent: string): string | undefined {
  const restored = sent.padStart(6, '0');
  return restored !== sent && isTestCode(restored) ? restored : undefined;
}
