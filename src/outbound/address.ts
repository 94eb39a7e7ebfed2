import { type LookupAddress, lookup } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { OperatorError } from '../problems';

/** Thrown when a host resolves to an address that must not be called. */
export class ForbiddenAddress extends Error {
  override readonly name = 'ForbiddenAddress';
}

/** The global unicast range of IPv6 that IANA allocates from. ULA, NAT64 and other special ranges are outside it. */
const GLOBAL_V6 = ipaddr.IPv6.parseCIDR('2000::/3');
/** The public address at which Azure's platform services answer virtual machines. */
const AZURE_PLATFORM = '168.63.129.16';

/**
 * Returns whether an IP address may be called, which must be public. IPv6 addresses that embed an IPv4 address (6to4,
 * Teredo) are not. Metadata services use private, link-local or special addresses.
 * @param loopback whether loopback is allowed too
 */
export function mayCall(address: string, loopback: boolean): boolean {
  const ip = ipaddr.process(address);
  const range = ip.range();
  if (range === 'loopback') return loopback;
  if (range !== 'unicast') return false;
  if (ip instanceof ipaddr.IPv4) return ip.toString() !== AZURE_PLATFORM;
  return ip.match(GLOBAL_V6);
}

/** Returns the host of a URL if it is an IP address, for which Node does not call `lookup`. */
export function literalHost(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

/**
 * Returns whether a URL must not be called, as far as it shows without a look-up of its host. Also one that was accepted once: a sandbox
 * may have become one that others reach.
 * @param loopback whether loopback is allowed, also over http
 */
export function isForbiddenAsWritten(url: URL, loopback: boolean): boolean {
  if (url.protocol !== 'https:' && !loopback) return true;
  const literal = literalHost(url);
  return literal !== undefined && !mayCall(literal, loopback);
}

/** Exported for tests. */
export const resolver = new Resolver({ timeout: 2_000, tries: 2 });
const LOCAL = /(^|\.)localhost\.?$/i;

/**
 * Returns all addresses of a host, IPv4 first. Asks the name servers directly: `lookup` takes one of the four threads of the
 * process until they have answered, so that a few hosts could hold up every other one. Hence /etc/hosts and search domains do
 * not apply, except to localhost.
 * @throws Error with the code ENOTFOUND if there is none
 */
async function resolve(hostname: string): Promise<LookupAddress[]> {
  if (LOCAL.test(hostname)) return resolveLocally(hostname);
  const [v4, v6] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
  const addresses = [
    ...(v4.status === 'fulfilled' ? v4.value.map((address) => ({ address, family: 4 })) : []),
    ...(v6.status === 'fulfilled' ? v6.value.map((address) => ({ address, family: 6 })) : []),
  ];
  if (addresses.length > 0) return addresses;
  const cause = v4.status === 'rejected' ? v4.reason : undefined;
  throw Object.assign(new Error(`${hostname} has no address`, { cause }), { code: 'ENOTFOUND' });
}

function resolveLocally(hostname: string): Promise<LookupAddress[]> {
  return new Promise((done, fail) =>
    lookup(hostname, { all: true, order: 'ipv4first' }, (error, addresses) => (error ? fail(error) : done(addresses))),
  );
}

/** Creates a `lookup` that fails if any address of the host must not be called: the socket may connect to any of them. */
export function checkedLookup(loopback: boolean): LookupFunction {
  return (hostname, { all }, callback) => {
    const check = async () => {
      const addresses = await resolve(hostname);
      if (addresses.some(({ address }) => !mayCall(address, loopback)))
        throw new ForbiddenAddress(`${hostname} is at a special address`);
      return addresses;
    };
    check().then(
      (addresses) => {
        const [first] = addresses;
        if (all) callback(null, addresses);
        else callback(null, first?.address ?? '', first?.family ?? 0);
      },
      (error) => callback(error, '', 0),
    );
  };
}

/**
 * Returns whether a host is, or at present resolves to, an address that must not be called. False for a host that does not
 * resolve: every connection checks its addresses again.
 */
export async function isForbidden(url: URL, loopback: boolean): Promise<boolean> {
  const literal = literalHost(url);
  const addresses = literal === undefined ? await resolve(url.hostname).catch(() => []) : [{ address: literal }];
  return addresses.some(({ address }) => !mayCall(address, loopback));
}

/**
 * Validates the base URL of a CPO and returns it in the form that is stored (contract, section 5). A host that does not resolve
 * at present is accepted: every connection checks its addresses again.
 * @param loopback whether loopback is allowed, also over http
 * @throws OperatorError when the URL is not allowed
 */
export async function readBaseUrl(text: string, loopback: boolean): Promise<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && !(loopback && url?.protocol === 'http:'))
    throw new OperatorError(`the base URL must begin with https://${loopback ? ' or http://' : ''}`);
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new OperatorError('the base URL must have no user, password, query or fragment');
  if (await isForbidden(url, loopback))
    throw new OperatorError('the base URL must not be at a private, loopback or otherwise special address');
  return url.origin + url.pathname.replace(/\/+$/, '');
}
