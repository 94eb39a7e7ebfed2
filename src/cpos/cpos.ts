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
  /** Those that it serves; null: all, because nobody has said which. */
  readonly payloadProtocols: readonly string[] | null;
  readonly createdAt: Date;
  readonly suspendedAt: Date | null;
};

const COLUMNS = `id, name, base_url as "baseUrl", payload_protocols as "payloadProtocols",
  created_at as "createdAt", suspended_at as "suspendedAt"`;

/** A CPO that we can call, with the token that it gave us. */
export type CallableCpo = { readonly id: string; readonly baseUrl: string; readonly token: string | undefined };

/** How a CPO is called: its base URL (checked by `readBaseUrl`), the token that it gave us for that, its protocols. */
export type Outbound = {
  readonly baseUrl?: string | undefined;
  readonly outboundToken?: string | undefined;
  /** Null: all of them. */
  readonly payloadProtocols?: readonly string[] | null | undefined;
};

/** What the trail says of a CPO. */
const CALLING = `jsonb_strip_nulls(jsonb_build_object('name', name, 'base_url', base_url,
  'outbound_token', case when outbound_token is not null then 'set' end, 'payload_protocols', payload_protocols))`;

const ADD = `
with changed as (
  insert into cpos (id, name, base_url, outbound_token, outbound_key_id, payload_protocols)
  values ($3, $4, $5, $6, $7, $8) returning *
), ${audited('cpo.add', CALLING)}
select ${COLUMNS} from changed`;

/**
 * Registers a CPO.
 * @throws OperatorError when the name is taken
 */
export async function addCpo(
  ctx: Audited & Partial<Pick<Context, 'keys'>>,
  name: string,
  calling: Outbound = {},
): Promise<Cpo> {
  const id = ctx.random.uuid();
  // `keys` is read only when there is something to seal.
  const sealed =
    calling.outboundToken !== undefined && ctx.keys ? seal(ctx.keys, calling.outboundToken, id) : undefined;
  const [cpo] = await rows<Cpo>(ctx.db, ADD, [
    ...auditParameters(ctx),
    id,
    name,
    calling.baseUrl ?? null,
    sealed?.bytes ?? null,
    sealed?.keyId ?? null,
    calling.payloadProtocols ?? null,
  ]).catch((error: unknown) => {
    if (violates(error, 'cpos_name_key')) throw new OperatorError(`a CPO with the name ${name} exists`);
    throw error;
  });
  if (cpo === undefined) throw new TypeError('an insert returned no row');
  return cpo;
}

export function listCpos(db: Database): Promise<Cpo[]> {
  return rows(db, `select ${COLUMNS} from cpos order by id`);
}

/**
 * The id of the CPO that an operator names by its id or its name; an id wins.
 * @throws OperatorError for neither
 */
export async function cpoIdOf(db: Pick<Database, 'query'>, idOrName: string): Promise<string> {
  const [cpo] = await rows<{ id: string }>(
    db,
    `select id from cpos where id::text = $1 or name = $2 order by id::text = $1 desc limit 1`,
    [idOrName.toLowerCase(), idOrName],
  );
  if (cpo === undefined) throw new OperatorError(`no CPO has the id or name ${idOrName}`);
  return cpo.id;
}

/** The lock makes the second of two that want the same see what the first has changed. */
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
 * Suspends or resumes a CPO, in force on every replica within a second; again is the same.
 * @throws OperatorError for an unknown id
 */
export async function setSuspended(ctx: Audited, id: string, suspended: boolean): Promise<Cpo> {
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, suspension(suspended), [...auditParameters(ctx), id]) : [];
  if (cpo === undefined) throw new OperatorError(`no CPO has the id ${id}`);
  return cpo;
}

/**
 * A CPO that a customer may choose: not suspended, with a base URL, and serving this protocol.
 * @throws Problem `invalid-request` for an unknown id or a protocol that it does not serve, `cpo-unavailable`
 */
export async function callableCpo(ctx: Context, id: string, payloadProtocol: string): Promise<CallableCpo> {
  const cpo = await findCpo(ctx, id);
  const invalid = (pointer: string, message: string) =>
    new Problem('invalid-request', { errors: [{ pointer, message }] });
  if (cpo === undefined) throw invalid('/cpo_id', 'is not the id of a known CPO');
  if (cpo.suspendedAt !== null || cpo.baseUrl === null) throw new Problem('cpo-unavailable');
  if (cpo.payloadProtocols?.includes(payloadProtocol) === false)
    throw invalid('/payload_protocol', `is not served by this CPO, which serves ${cpo.payloadProtocols.join(', ')}`);
  return { id, baseUrl: cpo.baseUrl, token: cpo.token };
}

/**
 * A CPO as it is to be told of an unpairing, suspended or not.
 * @throws Problem `cpo-unavailable` when it has no base URL (any more)
 */
export async function notifiableCpo(ctx: Context, id: string): Promise<CallableCpo> {
  const cpo = await findCpo(ctx, id);
  if (cpo === undefined || cpo.baseUrl === null)
    throw new Problem('cpo-unavailable', { message: 'The CPO has no base URL: the notification waits for one.' });
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

/** The token goes to the origin that it was given for, and to no other. */
const SET_CALLING = `
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
), ${audited('cpo.calling', CALLING)}
select ${COLUMNS} from changed`;

/**
 * Sets how a CPO is called; what is not given stays.
 * @throws OperatorError for an unknown id, for a token without a base URL, and for a base URL at another origin without a
 *   token, when there is one for the former origin
 */
export async function setCalling(
  ctx: Audited & Pick<Context, 'keys'>,
  id: string,
  { baseUrl, outboundToken, payloadProtocols }: Outbound,
): Promise<Cpo> {
  const sealed = outboundToken === undefined ? undefined : seal(ctx.keys, outboundToken, id);
  const secret = [sealed?.bytes ?? null, sealed?.keyId ?? null];
  const protocols = [payloadProtocols !== undefined, payloadProtocols ?? null];
  const values = [...auditParameters(ctx), id, baseUrl ?? null, ...secret, ...protocols];
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, SET_CALLING, values) : [];
  if (cpo !== undefined) return cpo;
  const [refused] = isUuid(id) ? await rows<Cpo>(ctx.db, `select ${COLUMNS} from cpos where id = $1`, [id]) : [];
  if (refused?.baseUrl == null) throw new OperatorError(`no CPO has the id ${id} and a base URL`);
  throw new OperatorError(
    `the token that the CPO gave us is for ${new URL(refused.baseUrl).origin} and is not sent elsewhere: give its new token with --outbound-token-stdin, or take both away first with --none`,
  );
}

const REMOVE_CALLING = `
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
 * Takes away where a CPO is called, with the token that it gave us; again is the same.
 * @throws OperatorError for an unknown id
 */
export async function removeCalling(ctx: Audited, id: string): Promise<Cpo> {
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, REMOVE_CALLING, [...auditParameters(ctx), id]) : [];
  if (cpo === undefined) throw new OperatorError(`no CPO has the id ${id}`);
  return cpo;
}

/** CPOs that a customer may choose, by name, from behind the name `after`. */
export function listCallableCpos(
  db: Database,
  after: string,
  limit: number,
): Promise<Pick<Cpo, 'id' | 'name' | 'payloadProtocols'>[]> {
  return rows(
    db,
    `select id, name, payload_protocols as "payloadProtocols" from cpos
     where suspended_at is null and base_url is not null and name > $1 order by name limit $2`,
    [after, limit],
  );
}
