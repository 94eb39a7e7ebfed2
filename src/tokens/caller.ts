import type { Response } from 'express';
import type { Role } from '../db/schema/tokens';

/** Who sent a request, as its token says. */
export type Caller = {
  readonly tokenId: string;
  /** SHA-256 of the token, in hexadecimal. */
  readonly hash: string;
  readonly role: Role;
  /** Of a `cpo` token, otherwise null. */
  readonly cpo: { readonly id: string; readonly name: string; readonly suspended: boolean } | null;
  /** The name of the app of an `app` token, otherwise null. */
  readonly app: string | null;
  readonly expiresAt: Date;
};

/** The caller of an authenticated request; `http/auth` puts it there. */
export function callerOf(res: Response): Caller {
  return res.locals.caller as Caller;
}

/** The CPO of a request whose operation is for CPOs. */
export function cpoOf(res: Response): NonNullable<Caller['cpo']> {
  const { cpo } = callerOf(res);
  if (cpo === null) throw new TypeError('this operation is not for CPOs alone');
  return cpo;
}

/** Identifies the CPO or app that a caller belongs to, whichever of its tokens it sent. */
export function partyOf({ role, cpo, app }: Caller): string {
  return `${role} ${cpo?.id ?? app}`;
}
