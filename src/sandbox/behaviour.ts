import type { IncomingHttpHeaders } from 'node:http';
import type { Outcome } from './reply';
import { codeOfUid, isUsedUp, isValidCode, uidOf } from './scenarios';

/** A request to the sandbox CPO, as far as its behaviour may depend on it. */
export type Received = {
  /** `rejected`: it reached neither operation. */
  readonly kind: 'pair' | 'unpair' | 'rejected';
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The parsed body, undefined without one. */
  readonly body: unknown;
  /** The token that the sandbox CPO accepts. */
  readonly token: string;
  /** The number of requests of this kind up to this one. */
  readonly nth: number;
  /** The number of incorrect codes in a row up to this request. */
  readonly incorrectInARow: number;
};

/** The rules of the sandbox CPO. Each mutant replaces one of them. */
export type Behaviour = {
  isAuthorized(authorization: string | undefined, query: URLSearchParams, token: string): boolean;
  /** Returns the code that the sandbox CPO looks up. */
  readCode(code: string): string;
  isValidCode(code: string): boolean;
  isUsedUp(code: string): boolean;
  /** Returns whether the station of a code that is not used up can be paired again after an unpair. */
  pairsAgain: boolean;
  /** Whether time passes between the look-up of a code and its use. */
  usesLate: boolean;
  /** @param nth the number of pairings up to this one */
  uidOf(code: string, nth: number): string;
  codeOfUid(uid: string): string | undefined;
  /** Returns the outcome of an unpair of a known station. */
  onUnpair(outcome: Outcome, times: number): Outcome;
  /** Changes the outcome of a request at last. */
  answer(outcome: Outcome, received: Received): Outcome;
};

export const correct: Behaviour = {
  isAuthorized: (authorization, _query, token) => authorization === `Bearer ${token}`,
  readCode: (code) => code,
  isValidCode,
  isUsedUp,
  pairsAgain: true,
  usesLate: false,
  uidOf,
  codeOfUid,
  onUnpair: (outcome) => outcome,
  answer: (outcome) => outcome,
};
