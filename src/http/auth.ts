import type { Request } from 'express';
import { Passport } from 'passport';
import { Strategy } from 'passport-http-bearer';
import { Problem } from '../problems';
import type { Caller } from '../tokens/caller';
import type { TokenRegistry } from '../tokens/registry';

const REALM = 'scsp-pairing';

/**
 * Creates the security handler of `bearer` in openapi.yaml: authenticates the caller (401) and checks its role (403), RFC 6750.
 * The validator keeps only the status of an error. The problem itself is in `res.locals.refusal`, for http/error-response.
 */
export function bearer(registry: TokenRegistry): (req: Request, roles: string[]) => Promise<boolean> {
  const passport = new Passport();
  passport.use(
    new Strategy({ realm: REALM }, (token: string, done: (error: unknown, caller?: Caller | false) => void) => {
      Promise.resolve(registry.verify(token)).then(
        (caller) => done(null, caller ?? false),
        (error) => done(error),
      );
    }),
  );

  // The strategy also takes access_token from query and body, so it gets the header alone. Passport would also keep a whole
  // request until the next major garbage collection: V8 allocates function literals assigned to properties as old.
  const authenticate = (authorization: string | undefined) =>
    new Promise<Caller>((resolve, reject) => {
      const done = (error: unknown, caller: Caller | false) => {
        if (error) reject(error);
        else if (caller) resolve(caller);
        else reject(unauthorized(authorization));
      };
      // RFC 6750, 2.1 has one or more spaces before the token; the strategy takes one.
      const headers = { authorization: authorization?.replace(/^(bearer) +/i, '$1 ') };
      passport.authenticate('bearer', { session: false }, done)({ headers }, undefined, reject);
    });

  return async (req, roles) => {
    const { authorization } = req.headers;
    try {
      const caller = await authenticate(authorization);
      if (req.res) {
        req.res.locals.caller = caller;
        req.res.locals.stillAllowed = async () => {
          const now = await registry.refresh(caller);
          if (now === undefined) throw unauthorized(authorization);
          requireAllowed(now, roles);
        };
      }
      requireAllowed(caller, roles);
      return true;
    } catch (error) {
      if (req.res) req.res.locals.refusal = error;
      throw error;
    }
  };
}

function requireAllowed(caller: Caller, roles: string[]): void {
  if (!roles.includes(caller.role)) throw new Problem('wrong-role');
  if (caller.cpo?.suspended) throw new Problem('cpo-suspended');
}

/** Created once, since there may be many. RFC 6750, 3: no `error` when no bearer token was sent. */
const NO_ERROR = { 'WWW-Authenticate': `Bearer realm="${REALM}"` };
const MISSING = new Problem('missing-token', { headers: NO_ERROR });
const WRONG_SCHEME = new Problem('missing-token', {
  message: 'The Authorization header has another scheme than Bearer. Send Authorization: Bearer <token>.',
  headers: NO_ERROR,
});
const INVALID = new Problem('invalid-token', {
  headers: { 'WWW-Authenticate': `Bearer realm="${REALM}", error="invalid_token"` },
});

/**
 * Returns the 401 for a request.
 * @param header the `Authorization` header as sent; it is never shown, because a token without a scheme looks like a scheme
 */
export function unauthorized(header: string | undefined): Problem {
  const [, scheme, rest] = /^\s*(\S+)\s*(.*)$/.exec(header ?? '') ?? [];
  if (scheme === undefined) return MISSING;
  if (scheme.toLowerCase() !== 'bearer') return WRONG_SCHEME;
  return rest === '' ? MISSING : INVALID;
}
