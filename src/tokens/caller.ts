import type { Response } from 'express';
import type { Role } from './table';

/** Who sent a request, as its token says. */
export type Caller = {
  readonly tokenId: string;
  readonly role: Role;
  /** Of a `cpo` token. */
  readonly cpo: { readonly id: string; readonly name: string; readonly suspended: boolean } | undefined;
  readonly expiresAt: Date;
};

/** The caller of an authenticated request; `http/auth` puts it there. */
export function callerOf(res: Response): Caller {
  return res.locals.caller as Caller;
}

/** The CPO of a request whose operation is for CPOs. */
export function cpoOf(res: Response): NonNullable<Caller['cpo']> {
  const { cpo } = callerOf(res);
  if (cpo === undefined) throw new TypeError('this operation is not for CPOs alone');
  return cpo;
}
