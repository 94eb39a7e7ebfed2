import { type LookupAddress, lookup } from 'node:dns';
import { lookup as resolve } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** An address of a CPO that must not be called. */
export class ForbiddenAddress extends Error {
  override readonly name = 'ForbiddenAddress';
}

/** Whether a CPO may be called at this IP address: a public one, in the sandbox also this machine. */
export function mayCall(address: string, sandbox: boolean): boolean {
  const range = ipaddr.process(address).range();
  return range === 'unicast' || (sandbox && range === 'loopback');
}

/** The host of a URL when it is an IP address itself, which no lookup will see. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

/** Refuses a host when any of its addresses may not be called: which one a connection takes is not ours to say. */
export function checkedLookup(sandbox: boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      const [first] = addresses ?? [];
      if (error || first === undefined) return callback(error, '', 0);
      const forbidden = addresses.find(({ address }) => !mayCall(address, sandbox));
      if (forbidden !== undefined) return callback(new ForbiddenAddress(`${hostname} is at a special address`), '', 0);
      return options.all ? callback(null, addresses) : callback(null, first.address, first.family);
    });
  };
}

/**
 * The base URL of a CPO in the form that is stored (contract, section 5). A name that does not resolve now is taken:
 * every connection is checked again.
 * @throws RangeError that says what is wrong with it
 */
export async function readBaseUrl(text: string, sandbox: boolean): Promise<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && !(sandbox && url?.protocol === 'http:'))
    throw new RangeError('the base URL must begin with https://');
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new RangeError('the base URL must have no user, password, query or fragment');
  const literal = literalAddress(url);
  const addresses =
    literal === undefined ? await resolve(url.hostname, { all: true }).catch(() => []) : [{ address: literal }];
  if (addresses.some(({ address }) => !mayCall(address, sandbox)))
    throw new RangeError('the base URL must not be at a private, loopback or otherwise special address');
  return url.origin + url.pathname.replace(/\/+$/, '');
}
