import { validate as isUuid } from 'uuid';
import type { Context } from '../context';
import { type Audited, audited, trailOf } from '../db/audit';
import { type Database, rows, violates } from '../db/database';
import { Problem } from '../problems';
import { seal, unseal } from '../secrets';

export type Cpo = {
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string | null;
  readonly createdAt: Date;
  readonly suspendedAt: Date | null;
};

const COLUMNS = `id, name, base_url as "baseUrl", created_at as "createdAt", suspended_at as "suspendedAt"`;

/** A CPO that we can call, with the token that it gave us. */
export type CallableCpo = { readonly id: string; readonly baseUrl: string; readonly token: string | undefined };

/** What the trail says of a CPO. */
const CALLING = `jsonb_strip_nulls(jsonb_build_object('name', name, 'base_url', base_url,
  'outbound_token', case when outbound_token is not null then 'set' end))`;

const ADD = `
with changed as (
  insert into cpos (id, name, base_url, outbound_token, outbound_key_id) values ($3, $4, $5, $6, $7) returning *
), ${audited('cpo.add', CALLING)}
select ${COLUMNS} from changed`;

/**
 * Registers a CPO.
 * @param calling where its backend is called (checked by `readBaseUrl`), and the token that it gave us for that
 * @throws RangeError when the name is taken
 */
export async function addCpo(
  ctx: Audited & Partial<Pick<Context, 'keys'>>,
  name: string,
  calling: { baseUrl?: string | undefined; outboundToken?: string | undefined } = {},
): Promise<Cpo> {
  const id = ctx.chance.uuid();
  // `keys` is read only when there is something to seal.
  const sealed =
    calling.outboundToken !== undefined && ctx.keys ? seal(ctx.keys, calling.outboundToken, id) : undefined;
  const [cpo] = await rows<Cpo>(ctx.db, ADD, [
    ...trailOf(ctx),
    id,
    name,
    calling.baseUrl ?? null,
    sealed?.bytes ?? null,
    sealed?.keyId ?? null,
  ]).catch((error: unknown) => {
    if (violates(error, 'cpos_name_key')) throw new RangeError(`a CPO with the name ${name} exists`);
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
 * @throws RangeError for neither
 */
export async function cpoIdOf(db: Pick<Database, 'query'>, idOrName: string): Promise<string> {
  const [cpo] = await rows<{ id: string }>(
    db,
    `select id from cpos where id::text = lower($1) or name = $1 order by id::text = lower($1) desc limit 1`,
    [idOrName],
  );
  if (cpo === undefined) throw new RangeError(`no CPO has the id or name ${idOrName}`);
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
 * @throws RangeError for an unknown id
 */
export async function setSuspended(ctx: Audited, id: string, suspended: boolean): Promise<Cpo> {
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, suspension(suspended), [...trailOf(ctx), id]) : [];
  if (cpo === undefined) throw new RangeError(`no CPO has the id ${id}`);
  return cpo;
}

/**
 * A CPO that a customer may choose: not suspended, with a base URL.
 * @throws Problem `invalid-request` for an unknown id, `cpo-unavailable`
 */
export async function callableCpo(ctx: Context, id: string): Promise<CallableCpo> {
  const cpo = await findCpo(ctx, id);
  if (cpo === undefined)
    throw new Problem('invalid-request', { errors: [{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }] });
  if (cpo.suspendedAt !== null || cpo.baseUrl === null) throw new Problem('cpo-unavailable');
  return { id, baseUrl: cpo.baseUrl, token: cpo.token };
}

/**
 * A CPO as it is to be told of an unpairing, suspended or not.
 * @throws Problem `cpo-unavailable` when it has no base URL (any more)
 */
export async function tellableCpo(ctx: Context, id: string): Promise<CallableCpo> {
  const cpo = await findCpo(ctx, id);
  if (cpo === undefined || cpo.baseUrl === null) throw new Problem('cpo-unavailable');
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

const SET_CALLING = `
with changed as (
  update cpos set base_url = coalesce($4, base_url),
    outbound_token = coalesce($5, outbound_token), outbound_key_id = coalesce($6, outbound_key_id)
  where id = $3 and coalesce($4, base_url) is not null returning *
), ${audited('cpo.calling', CALLING)}
select ${COLUMNS} from changed`;

/**
 * Sets where a CPO is called (checked by `readBaseUrl`) and with which token; what is not given stays.
 * @throws RangeError for an unknown id, and for a token without an address
 */
export async function setCalling(
  ctx: Audited & Pick<Context, 'keys'>,
  id: string,
  calling: { baseUrl?: string | undefined; outboundToken?: string | undefined },
): Promise<Cpo> {
  const sealed = calling.outboundToken === undefined ? undefined : seal(ctx.keys, calling.outboundToken, id);
  const values = [...trailOf(ctx), id, calling.baseUrl ?? null, sealed?.bytes ?? null, sealed?.keyId ?? null];
  const [cpo] = isUuid(id) ? await rows<Cpo>(ctx.db, SET_CALLING, values) : [];
  if (cpo === undefined) throw new RangeError(`no CPO has the id ${id} and a base URL`);
  return cpo;
}

/** CPOs that a customer may choose, by name, from behind the name `after`. */
export function listCallableCpos(db: Database, after: string, limit: number): Promise<{ id: string; name: string }[]> {
  return rows(
    db,
    `select id, name from cpos where suspended_at is null and base_url is not null and name > $1 order by name limit $2`,
    [after, limit],
  );
}
