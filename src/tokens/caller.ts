import type { Response } from 'express';
import type { Role } from '../db/schema/tokens';

/** The CPO that sent a request. */
export type CallerCpo = {
  readonly id: string;
  readonly name: string;
  readonly suspended: boolean;
  /** Whether its own developer created it, in a sandbox deployment. */
  readonly sandbox: boolean;
};

/** The authenticated caller of a request. */
export type Caller = {
  readonly tokenId: string;
  /** SHA-256 of the token, in hexadecimal. */
  readonly hash: string;
  readonly role: Role;
  /** The CPO of a `cpo` token, otherwise null. */
  readonly cpo: CallerCpo | null;
  /** The name of the app or of the pipeline (`ingest`), otherwise null. */
  readonly app: string | null;
  readonly expiresAt: Date;
};

/** Returns the caller of an authenticated request, which `http/auth` stores. */
export function callerOf(res: Response): Caller {
  return res.locals.caller as Caller;
}

/** Returns the CPO that sent a request for an operation that requires the role `cpo`. */
export function cpoOf(res: Response): CallerCpo {
  const { cpo } = callerOf(res);
  if (cpo === null) throw new TypeError('the operation does not require the role cpo');
  return cpo;
}

/** Returns the id of the CPO within which its uids are unique, or undefined where they are unique among all CPOs. */
export function scopeOf(res: Response): string | undefined {
  const { id, sandbox } = cpoOf(res);
  return sandbox ? id : undefined;
}

/** Returns a string that identifies the CPO or app of a caller, independent of the token. */
export function partyOf({ role, cpo, app }: Caller): string {
  return `${role} ${cpo?.id ?? app}`;
}
