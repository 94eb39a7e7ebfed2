import ipaddr from 'ipaddr.js';
import type { EntityManager } from 'typeorm';
import type { Context } from '../context';
import { type Origin, originFields } from '../contract/trace-context';
import { hashSubject, subjectHashes } from '../crypto/keys';
import { ADVISORY_LOCKS } from '../db/locks';
import { asBytea, rows, transaction } from '../db/query';
import { Problem } from '../problems';
import { hashToken, tokenOf } from '../tokens/tokens';

const PER_ADDRESS_AND_HOUR = 20;
/** A /48 has 65,536 networks, and anybody can get one: without a limit of its own it takes all that may be alive. */
const PER_SITE_AND_HOUR = 60;
const MOST_ALIVE = 1_000;
const LIFETIME_DAYS = 30;
/** The next run of the job that removes unused CPOs may help. */
const FULL_RETRY_AFTER_SECONDS = 600;
/** Limits the connections to the database that strangers can take. */
const MOST_AT_ONCE = 2;

export type SelfServiceCpo = {
  readonly id: string;
  readonly name: string;
  readonly token: string;
  readonly expiresAt: Date;
};

/** Where a client is, as text. */
export type SignUpOrigin = { readonly network: string; readonly site?: string };

/** `retryAfter` is null while the address may create another one. */
const COUNT = `
select (select count(*)::int from cpos where sandbox) as alive, (
  select ceil(extract(epoch from signed_up_at + interval '1 hour' - now()))::int from sandbox_sign_ups
  where address_hash = any ($1) and signed_up_at > now() - interval '1 hour'
  order by signed_up_at desc offset $2 limit 1) as "retryAfter"`;

const CREATE = `
with cpo as (
  insert into cpos (id, name, sandbox) values ($1, $2, true)
), sign_up as (
  insert into sandbox_sign_ups (id, address_hash) select gen_random_uuid(), hash from unnest($5::bytea[]) hash
)
insert into tokens (id, role, cpo_id, hash, expires_at)
values ($3, 'cpo', $1, $4, now() + interval '${LIFETIME_DAYS} days') returning expires_at as "expiresAt"`;

/**
 * Creates the function that creates a CPO for a stranger (contract, section 10). It is not audited: entries of the audit log are
 * never deleted, and the name is the stranger's.
 * @returns a function that throws Problem `too-many-sandbox-cpos`, `unavailable`
 */
export function createSignUp(
  ctx: Context,
): (name: string, client: SignUpOrigin, origin: Origin) => Promise<SelfServiceCpo> {
  let running = 0;
  return async (name, client, origin) => {
    if (running >= MOST_AT_ONCE) throw new Problem('unavailable');
    running += 1;
    try {
      const created = await transaction(ctx.db, (tx) => signUp(ctx, tx, name, client));
      ctx.log.info('self-service CPO created', { ...originFields(origin), cpo_id: created.id });
      return created;
    } finally {
      running -= 1;
    }
  };
}

async function signUp(
  ctx: Context,
  tx: EntityManager,
  name: string,
  { network, site }: SignUpOrigin,
): Promise<SelfServiceCpo> {
  await rows(tx, 'select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.sandboxSignUp]);
  await requireRoom(ctx, tx, network, PER_ADDRESS_AND_HOUR);
  if (site !== undefined) await requireRoom(ctx, tx, site, PER_SITE_AND_HOUR);
  const id = ctx.random.uuid();
  const token = tokenOf('cpo', ctx.random.bytes(32));
  const [stored] = await rows<{ expiresAt: Date }>(tx, CREATE, [
    id,
    name,
    ctx.random.uuid(),
    hashToken(token),
    [network, ...(site === undefined ? [] : [site])].map((from) => asBytea(hashSubject(ctx.keys, 'address', from))),
  ]);
  if (stored === undefined) throw new TypeError('an insert returned no row');
  return { id, name, token, expiresAt: stored.expiresAt };
}

/** @throws Problem `too-many-sandbox-cpos` */
async function requireRoom(ctx: Context, tx: EntityManager, from: string, most: number): Promise<void> {
  const hashes = subjectHashes(ctx.keys, 'address', from);
  const [count] = await rows<{ alive: number; retryAfter: number | null }>(tx, COUNT, [hashes, most - 1]);
  if (count === undefined) throw new TypeError('a count returned no row');
  if (count.retryAfter !== null) throw tooMany(count.retryAfter);
  if (count.alive >= MOST_ALIVE)
    throw tooMany(FULL_RETRY_AFTER_SECONDS, 'This sandbox has as many CPOs as it can hold, please try again later.');
}

function tooMany(seconds: number, message?: string): Problem {
  return new Problem('too-many-sandbox-cpos', {
    ...(message !== undefined && { message }),
    headers: { 'Retry-After': String(Math.max(1, seconds)) },
  });
}

/**
 * Returns where the limits see a client: its IPv4 address, or the /64 of its IPv6 address, all of which one client has, and the /48
 * around it, which one customer of a provider may have.
 * @param address as a proxy may have given it; one that is not an IP address is left out
 * @param peer the address of the connection
 */
export function signUpOrigin(address: string | undefined, peer: string | undefined): SignUpOrigin {
  const given = [address, peer].find((one) => one !== undefined && ipaddr.isValid(one));
  if (given === undefined) return { network: 'unknown' };
  const ip = ipaddr.process(given);
  if (ip instanceof ipaddr.IPv4) return { network: ip.toString() };
  const parts = ip.parts.map((part) => part.toString(16));
  return { network: `${parts.slice(0, 4).join(':')}::/64`, site: `${parts.slice(0, 3).join(':')}::/48` };
}
