import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Request, Response } from 'express';
import type { Config } from '../../config';
import type { Keys } from '../../crypto/keys';
import { Problem } from '../../problems';
import { notSignedIn, type Session, sessionOf } from './session';

type FormContext = { readonly config: Config; readonly keys: Keys };

/** Returns the tokens that bind a form to a session, under every known key, the current one first. */
function formTokens({ form }: Keys, { caller }: Session): string[] {
  return form.map((key) => createHmac('sha256', key).update(caller.hash).digest('base64url'));
}

/** Returns the token that the forms of a session carry. */
export function formToken(keys: Keys, session: Session): string {
  const [current] = formTokens(keys, session);
  if (current === undefined) throw new TypeError('no form key');
  return current;
}

/**
 * Refuses a form that another site sent. Browsers that send neither header do not exist any more.
 * @throws Problem `form-refused`
 */
export function requireSameOrigin({ config }: FormContext, req: Pick<Request, 'get'>): void {
  const site = req.get('Sec-Fetch-Site');
  if (site === 'same-origin') return;
  if (site === undefined && isOwnOrigin(config, req.get('Origin'), req.get('Host'))) return;
  throw new Problem('form-refused');
}

/** The scheme of this service is unknown behind a proxy without PUBLIC_URL. */
function isOwnOrigin({ publicUrl }: Config, origin = '', host = ''): boolean {
  if (!URL.canParse(origin)) return false;
  return origin === (publicUrl && new URL(publicUrl).origin) || new URL(origin).host === host.toLowerCase();
}

/**
 * Returns the session of a form that was sent from one of its own pages.
 * @throws Problem `form-refused`
 */
export function requireOwnForm(ctx: FormContext, req: Pick<Request, 'get'>, res: Response, token: string): Session {
  requireSameOrigin(ctx, req);
  const session = sessionOf(res);
  if (session === undefined) throw notSignedIn();
  if (!formTokens(ctx.keys, session).some((own) => isEqual(own, token)))
    throw new Problem('form-refused', { message: 'You have signed in anew since this page was loaded.' });
  return session;
}

function isEqual(own: string, given: string): boolean {
  const [a, b] = [Buffer.from(own), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}
