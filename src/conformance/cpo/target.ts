import { literalHost, mayCall, readBaseUrl } from '../../outbound/address';
import { OperatorError } from '../../problems';

/** The base URL of a CPO's endpoint. `local`: on loopback, where TLS and addresses are not checked. */
export type Target = { readonly url: URL; readonly baseUrl: string; readonly local: boolean };

const LOCALHOST = /(^|\.)localhost\.?$/i;

/** Returns whether a host is this machine, by its name or address alone. */
function isLocal(url: URL): boolean {
  const literal = literalHost(url);
  return literal === undefined ? LOCALHOST.test(url.hostname) : mayCall(literal, true) && !mayCall(literal, false);
}

/**
 * Parses the address of a target.
 * @throws OperatorError when it is no base URL, or on loopback and that is not allowed
 */
export function parseTarget(text: string, loopback: boolean): Target {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new OperatorError('the target must be a URL that begins with https://');
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new OperatorError('the target must have no user, password, query or fragment');
  const local = isLocal(url);
  if (local && !loopback) throw new OperatorError('the target must not be on loopback');
  return { url, baseUrl: url.origin + url.pathname.replace(/\/+$/, ''), local };
}

/** Returns why the service would not call the addresses of a target, undefined if it would. The scheme has a check of its own. */
export async function addressError({ url, local }: Target): Promise<string | undefined> {
  const secure = new URL(url);
  secure.protocol = 'https:';
  return readBaseUrl(secure.href, local).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof OperatorError) return error.message;
      throw error;
    },
  );
}
