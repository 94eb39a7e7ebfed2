import type { Schemas } from '../contract/document';
import type { ValidationError } from '../problems';

export type CallOperation = Schemas['CallOperation'];
export type CallOutcome = Schemas['CallOutcome'];

/** A call to a CPO, without uid, code, token and body. */
export type Call = {
  /** A UUIDv7, created when the call begins. */
  readonly id: string;
  readonly cpoId: string;
  readonly operation: CallOperation;
  readonly payloadProtocol: string;
  /** The `X-Request-ID` of this call. */
  readonly requestId: string;
  /** Undefined without an answer. */
  readonly status: number | undefined;
  readonly durationMs: number;
  readonly outcome: CallOutcome;
  /** The validation errors of the answer, or why there is none. Only pointer and message are stored. */
  readonly errors: readonly ValidationError[];
};
