import type { Request, RequestHandler, Response } from 'express';
import type { Config } from '../../config';
import type { SandboxHandlers } from '../../contract/document';
import { Problem } from '../../problems';
import type { Caller, CallerCpo } from '../../tokens/caller';
import type { TokenRegistry } from '../../tokens/registry';

/** Who is signed in on the page. */
export type Session = { readonly token: string; readonly caller: Caller; readonly cpo: CallerCpo };

/** The operations that the cookie authenticates. The API is not among them. */
const SIGNED_IN: Readonly<Partial<Record<keyof SandboxHandlers, true>>> = {
  sandboxPage: true,
  sandboxSignOutForm: true,
  sandboxShowTokenForm: true,
  sandboxUnpairForm: true,
  sandboxEndpointForm: true,
  sandboxRedemptionForm: true,
  sandboxTestUnpairForm: true,
  sandboxRunForm: true,
};

/** Whether browsers reach the service by http on this machine only, where a cookie can be neither `Secure` nor `__Host-`. */
const isPlain = ({ callsLoopback, publicUrl }: Config) => callsLoopback && !publicUrl?.startsWith('https:');
const nameOf = (config: Config) => (isPlain(config) ? 'scsp-sandbox' : '__Host-scsp-sandbox');

const options = (config: Config) =>
  ({ httpOnly: true, sameSite: 'strict', secure: !isPlain(config), path: '/' }) as const;

/** Signs in: stores the token in the browser until it expires. */
export function signIn(config: Config, res: Response, token: string, expiresAt: Date): void {
  res.cookie(nameOf(config), token, { ...options(config), expires: expiresAt });
}

export function signOut(config: Config, res: Response): void {
  res.clearCookie(nameOf(config), options(config));
}

/** Returns the token in the cookie of a request. */
export function tokenIn(config: Config, req: Pick<Request, 'headers'>): string | undefined {
  const cookies = (req.headers.cookie ?? '').split(';').map((cookie) => cookie.trim());
  const found = cookies.find((cookie) => cookie.startsWith(`${nameOf(config)}=`));
  return found?.slice(nameOf(config).length + 1);
}

/**
 * Returns the session of a CPO's token, or undefined for one that is not valid, of another role, or of a suspended CPO.
 * @throws Problem `unavailable`
 */
export async function openSession(registry: TokenRegistry, token: string): Promise<Session | undefined> {
  const caller = await registry.verify(token);
  if (caller?.cpo == null || caller.cpo.suspended) return undefined;
  return { token, caller, cpo: caller.cpo };
}

/** Finds the session of a request to the page, before its body is read and it counts as one of its CPO. */
export function findSession(config: Config, registry: TokenRegistry): RequestHandler {
  return async (req, res, next) => {
    const token = tokenIn(config, req);
    if (token === undefined || !Object.hasOwn(SIGNED_IN, req.openapi?.schema.operationId ?? '')) return next();
    const session = await openSession(registry, token);
    if (session !== undefined) {
      res.locals.session = session;
      res.locals.caller = session.caller;
      res.locals.stillAllowed = async () => {
        if ((await openSession(registry, token)) === undefined) throw notSignedIn();
      };
    }
    next();
  };
}

export function sessionOf(res: Response): Session | undefined {
  return res.locals.session;
}

export function notSignedIn(): Problem {
  return new Problem('form-refused', { message: 'You are not signed in, or your token is not valid any more.' });
}
