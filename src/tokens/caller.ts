import type { Response } from 'express';
import type { Role } from '../db/schema/tokens';

/** The authenticated caller of a request. */
export type Caller = {
  readonly tokenId: string;
  /** SHA-256 of the token, in hexadecimal. */
  readonly hash: string;
  readonly role: Role;
  /** The CPO of a `cpo` token, otherwise null. */
  readonly cpo: { readonly id: string; readonly name: string; readonly suspended: boolean } | null;
  /** The name of the app or of the pipeline (`ingest`), otherwise null. */
  readonly app: string | null;
  readonly expiresAt: Date;
};

/** Returns the caller of an authenticated request, which `http/auth` stores. */
export function callerOf(res: Response): Caller {
  return res.locals.caller as Caller;
}

/** Returns the CPO that sent a request for an operation that requires the role `cpo`. */
export function cpoOf(res: Response): NonNullable<Caller['cpo']> {
  const { cpo } = callerOf(res);
  if (cpo === null) throw new TypeError('the operation does not require the role cpo');
  return cpo;
}

/** Returns a string that identifies the CPO or app of a caller, independent of the token. */
export function partyOf({ role, cpo, app }: Caller): string {
  return `${role} ${cpo?.id ?? app}`;
}
