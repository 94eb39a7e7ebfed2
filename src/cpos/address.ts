import { type LookupAddress, lookup } from 'node:dns';
import { lookup as resolve } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { OperatorError } from '../problems';

/** An address of a CPO that must not be called. */
export class ForbiddenAddress extends Error {
  override readonly name = 'ForbiddenAddress';
}

/** All that IANA has given out of IPv6 for unicast in the internet; ULA, NAT64 and the like are outside. */
const GLOBAL_V6 = ipaddr.IPv6.parseCIDR('2000::/3');
/** Azure's own services answer virtual machines at this public address. */
const AZURE = '168.63.129.16';

/**
 * Whether a CPO may be called at this IP address: a public one. Addresses of IPv6 that lead to one of IPv4 (6to4,
 * Teredo) are not, and metadata services are at private, link-local or special ones.
 * @param loopback whether this machine may be called too
 */
export function mayCall(address: string, loopback: boolean): boolean {
  const ip = ipaddr.process(address);
  const range = ip.range();
  if (range === 'loopback') return loopback;
  if (range !== 'unicast') return false;
  if (ip instanceof ipaddr.IPv4) return ip.toString() !== AZURE;
  return ip.match(GLOBAL_V6);
}

/** The host of a URL when it is an IP address itself, which no lookup will see. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

/** Refuses a host when any of its addresses may not be called: which one a connection takes is not ours to say. */
export function checkedLookup(loopback: boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      const [first] = addresses ?? [];
      if (error || first === undefined) return callback(error, '', 0);
      const forbidden = addresses.find(({ address }) => !mayCall(address, loopback));
      if (forbidden !== undefined) return callback(new ForbiddenAddress(`${hostname} is at a special address`), '', 0);
      return options.all ? callback(null, addresses) : callback(null, first.address, first.family);
    });
  };
}

/**
 * The base URL of a CPO in the form that is stored (contract, section 5). A name that does not resolve now is taken:
 * every connection is checked again.
 * @param loopback whether this machine may be called, over http too
 * @throws OperatorError that says what is wrong with it
 */
export async function readBaseUrl(text: string, loopback: boolean): Promise<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && !(loopback && url?.protocol === 'http:'))
    throw new OperatorError('the base URL must begin with https://');
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new OperatorError('the base URL must have no user, password, query or fragment');
  const literal = literalAddress(url);
  const addresses =
    literal === undefined ? await resolve(url.hostname, { all: true }).catch(() => []) : [{ address: literal }];
  if (addresses.some(({ address }) => !mayCall(address, loopback)))
    throw new OperatorError('the base URL must not be at a private, loopback or otherwise special address');
  return url.origin + url.pathname.replace(/\/+$/, '');
}
