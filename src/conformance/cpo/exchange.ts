import type { Answer } from '../../cpos/answer';

/** A request as it was sent. */
export type Sent = {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
};

/**
 * Why there was no response: none within the deadline, no connection, no valid certificate or TLS, an address that must not be
 * called, or something that is not HTTP.
 */
export type FailureKind = 'timed-out' | 'unconnected' | 'certificate' | 'forbidden' | 'broken';

export type Exchange = {
  readonly sent: Sent;
  /** `truncated`: the body was larger than what is read. */
  readonly answer?: Answer & { readonly truncated: boolean };
  readonly failure?: { readonly kind: FailureKind; readonly reason: string };
  readonly durationMs: number;
};

/** An exchange with a response. */
export type Answered = Exchange & Required<Pick<Exchange, 'answer'>>;

export const isAnswered = (exchange: Exchange): exchange is Answered => exchange.answer !== undefined;

/** Thrown by a check whose rule is broken. */
export class CheckFailed extends Error {
  override readonly name: string = 'CheckFailed';
  constructor(
    readonly note: string,
    readonly exchange?: Exchange,
    /** What to do, where that of the check does not fit. */
    readonly remedy?: string,
  ) {
    super(note);
  }
}

/** Thrown when a code of `good` is refused. One check of a run fails by it; the others that need such codes are not run. */
export class CodeRefused extends CheckFailed {
  override readonly name: string = 'CodeRefused';
}

/** Thrown by a check that cannot be run. */
export class CheckNotRun extends Error {
  override readonly name = 'CheckNotRun';
  constructor(readonly needs: string) {
    super(needs);
  }
}
