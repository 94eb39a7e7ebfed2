import { validate as isUuid } from 'uuid';
import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import { seal, unseal } from '../crypto/sealed';
import { violates } from '../db/errors';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError, Problem } from '../problems';

export type Cpo = {
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string | null;
  /** The protocols that it serves; null: all, because none were configured. */
  readonly payloadProtocols: readonly string[] | null;
  readonly createdAt: Date;
  readonly suspendedAt: Date | null;
  /** Whether its own developer created it, in a sandbox deployment. */
  readonly sandbox: boolean;
};

const COLUMNS = `id, name, base_url as "baseUrl", payload_protocols as "payloadProtocols",
  created_at as "createdAt", suspended_at as "suspendedAt", sandbox`;

/** What is needed to call a CPO; `token` is the bearer token that the CPO issued to us. */
export type CallableCpo = { readonly id: string; readonly baseUrl: string; readonly token: string | undefined };

/**
 * The outbound configuration of a CPO: its base URL (from `readBaseUrl`), the bearer token that it issued to us, its
 * protocols.
 */
export type Outbound = {
  readonly baseUrl?: string | undefined;
  readonly outboundToken?: string | undefined;
  /** Null: all protocols. */
  readonly payloadProtocols?: readonly string[] | null | undefined;
};

/** The detail of audit entries about a CPO. */
const AUDIT_DETAIL = `jsonb_strip_nulls(jsonb_build_object('name', name, 'base_url', base_url,
  'outbound_token', case when outbound_token is not null then 'set' end, 'payload_protocols', payload_protocols))`;

const ADD = `
with changed as (
  insert into cpos (id, name, base_url, outbound_token, outbound_key_id, payload_protocols)
  values ($3, $4, $5, $6, $7, $8) returning *
), ${audited('cpo.add', AUDIT_DETAIL)}
select ${COLUMNS} from changed`;

/**
 * Registers a CPO.
 * @throws OperatorError when the name is taken
 */
export async function addCpo(
  ctx: Audited & Partial<Pick<Context, 'keys'>>,
  name: string,
  outbound: Outbound = {},
): Promise<Cpo> {
  const id = ctx.random.uuid();
  // Reading `keys` may generate a key, so it is read only when there is a token to encrypt.
  const sealed =
    outbound.outboundToken !== undefined && ctx.keys ? seal(ctx.keys, outbound.outboundToken, id) : undefined;
  const [cpo] = await rows<Cpo>(ctx.db, ADD, [
    ...auditParameters(ctx),
    id,
    name,
    outbound.baseUrl ?? null,
    sealed?.bytes ?? null,
    sealed?.keyId ?? null,
    outbound.payloadProtocols ?? null,
  ]).catch((error: unknown) => {
    if (violates(error, 'cpos_name_key')) throw new OperatorError(`a CPO with the name ${name} already exists`);
    throw error;
  });
  if (cpo === undefined) throw new TypeError('an insert returned no row');
  return cpo;
}

/** Returns all CPOs, the oldest first. */
export function listCpos(db: Database): Promise<Cpo[]> {
  return rows(db, `select ${COLUMNS} from cpos order by id`);
}

/**
 * Returns the id of the CPO with an id or a name; an id takes precedence. Self-service CPOs have no name of their own: any
 * stranger may have given it.
 * @throws OperatorError when there is none
 */
export async function cpoIdOf(db: Pick<Database, 'query'>, idOrName: string): Promise<string> {
  const [cpo] = await rows<{ id: string }>(
    db,
    `select id from cpos where id::text = $1 or (name = $2 and not sandbox) order by id::text = $1 desc limit 1`,
    [idOrName.toLowerCase(), idOrName],
  );
  if (cpo === undefined) throw new OperatorError(`no CPO has the id or name ${idOrName}`);
  return cpo.id;
}

/** The row lock makes the second of two concurrent changes see the first. */
const suspension = (suspended: boolean) => `
with before as (
  select * from cpos where id = $3 for no key update
), changed as (
  update cpos c set suspended_at = ${suspended ? 'now()' : 'null'} from before b
  where c.id = b.id and b.suspended_at is ${suspended ? 'null' : 'not null'}
  returning c.*
), ${audited(suspended ? 'cpo.suspend' : 'cpo.resume', `jsonb_build_object('name', name)`)}
select ${COLUMNS} from changed
union all select ${COLUMNS} from before where suspended_at is ${suspended ? 'not null' : 'null'}`;

/**
 * Suspends or resumes a CPO, effective on every replica within 1 s. Idempotent.
 * @throws OperatorError for an unknown id
 */
export async function setSuspended(ctx: Audited, id: string, suspended: boolean): Promise<Cpo> {
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, suspension(suspended), [...auditParameters(ctx), id]) : [];
  if (cpo === undefined) throw new OperatorError(`no CPO has the id ${id}`);
  return cpo;
}

/**
 * Returns a CPO that can redeem codes: not suspended, with a base URL, and serving the protocol.
 * @param selfService whether it may be a self-service CPO, which apps do not know
 * @throws Problem `invalid-request` for an unknown id or a protocol that the CPO does not serve, `cpo-unavailable`
 */
export async function callableCpo(
  ctx: Context,
  id: string,
  payloadProtocol: string,
  selfService = false,
): Promise<CallableCpo> {
  const cpo = await findCpo(ctx, id);
  const invalid = (pointer: string, message: string) =>
    new Problem('invalid-request', { errors: [{ pointer, message }] });
  if (cpo === undefined || (cpo.sandbox && !selfService)) throw invalid('/cpo_id', 'is not the id of a known CPO');
  if (cpo.suspendedAt !== null || cpo.baseUrl === null) throw new Problem('cpo-unavailable');
  if (cpo.payloadProtocols?.includes(payloadProtocol) === false)
    throw invalid('/payload_protocol', `is not served by this CPO, which serves ${cpo.payloadProtocols.join(', ')}`);
  return { id, baseUrl: cpo.baseUrl, token: cpo.token };
}

/**
 * Returns a CPO to notify of an unpairing, suspended or not.
 * @throws Problem `cpo-unavailable` when it has no base URL (any more)
 */
export async function notifiableCpo(ctx: Context, id: string): Promise<CallableCpo> {
  const cpo = await findCpo(ctx, id);
  if (cpo === undefined || cpo.baseUrl === null)
    throw new Problem('cpo-unavailable', {
      message: 'The CPO has no base URL: the notification waits until it has one.',
    });
  return { id, baseUrl: cpo.baseUrl, token: cpo.token };
}

async function findCpo(ctx: Context, id: string): Promise<(Cpo & { token: string | undefined }) | undefined> {
  type Row = Cpo & { outboundToken: Buffer | null; outboundKeyId: string | null };
  const [found] = await rows<Row>(
    ctx.db,
    `select ${COLUMNS}, outbound_token as "outboundToken", outbound_key_id as "outboundKeyId" from cpos where id = $1`,
    [id],
  );
  if (found === undefined) return undefined;
  const { outboundToken: bytes, outboundKeyId: keyId } = found;
  return { ...found, token: bytes && keyId ? unseal(ctx.keys, { bytes, keyId }, id) : undefined };
}

const ORIGIN = `'^https?://[^/]+'`;

/** The token is only ever sent to the origin that it was set for. */
const SET_OUTBOUND = `
with before as (
  select * from cpos where id = $3 for no key update
), changed as (
  update cpos c set base_url = coalesce($4, b.base_url),
    outbound_token = coalesce($5, b.outbound_token), outbound_key_id = coalesce($6, b.outbound_key_id),
    payload_protocols = case when $7 then $8 else b.payload_protocols end
  from before b
  where c.id = b.id and ($5::bytea is null or coalesce($4, b.base_url) is not null)
    and ($4 is null or $5::bytea is not null or b.outbound_token is null
      or substring($4 from ${ORIGIN}) = substring(b.base_url from ${ORIGIN}))
  returning c.*
), ${audited('cpo.calling', AUDIT_DETAIL, '$9::boolean')}
select ${COLUMNS} from changed`;

/**
 * Changes the outbound configuration of a CPO. Members that are undefined keep their values.
 * @param isAudited false for a stranger's own change to a self-service CPO
 * @throws OperatorError for an unknown id, for a token without a base URL, and for a base URL at another origin without a
 *   token when a token is set for the former origin
 */
export async function setOutbound(
  ctx: Audited & Pick<Context, 'keys'>,
  id: string,
  { baseUrl, outboundToken, payloadProtocols }: Outbound,
  isAudited = true,
): Promise<Cpo> {
  const sealed = outboundToken === undefined ? undefined : seal(ctx.keys, outboundToken, id);
  const secret = [sealed?.bytes ?? null, sealed?.keyId ?? null];
  const protocols = [payloadProtocols !== undefined, payloadProtocols ?? null];
  const values = [...auditParameters(ctx), id, baseUrl ?? null, ...secret, ...protocols, isAudited];
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, SET_OUTBOUND, values) : [];
  if (cpo !== undefined) return cpo;
  const [refused] = isUuid(id) ? await rows<Cpo>(ctx.db, `select ${COLUMNS} from cpos where id = $1`, [id]) : [];
  if (refused?.baseUrl == null)
    throw new OperatorError(`the CPO ${id} does not exist or has no base URL: give one with --base-url`);
  throw new OperatorError(
    `the outbound token of this CPO is for ${new URL(refused.baseUrl).origin} and is not sent to another origin: give a new token with --outbound-token-stdin, or remove both first with --none`,
  );
}

const REMOVE_OUTBOUND = `
with before as (
  select * from cpos where id = $3 for no key update
), changed as (
  update cpos c set base_url = null, outbound_token = null, outbound_key_id = null from before b
  where c.id = b.id and b.base_url is not null
  returning c.*, b.base_url as former
), ${audited('cpo.calling-removed', `jsonb_build_object('name', name, 'base_url', former)`)}
select ${COLUMNS} from changed
union all select ${COLUMNS} from before where base_url is null`;

/**
 * Removes the base URL and the outbound token of a CPO. Idempotent.
 * @throws OperatorError for an unknown id
 */
export async function removeOutbound(ctx: Audited, id: string): Promise<Cpo> {
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, REMOVE_OUTBOUND, [...auditParameters(ctx), id]) : [];
  if (cpo === undefined) throw new OperatorError(`no CPO has the id ${id}`);
  return cpo;
}

/** Returns the CPOs that a customer can choose, in the order of their names, after the name `after`. */
export function listCallableCpos(
  db: Database,
  after: string,
  limit: number,
): Promise<Pick<Cpo, 'id' | 'name' | 'payloadProtocols'>[]> {
  return rows(
    db,
    `select id, name, payload_protocols as "payloadProtocols" from cpos
     where suspended_at is null and base_url is not null and not sandbox and name > $1 order by name limit $2`,
    [after, limit],
  );
}
