import { validate as isUuid } from 'uuid';
import type { Context } from '../context';
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

/**
 * Registers a CPO.
 * @param calling where its backend is called (checked by `readBaseUrl`), and the token that it gave us for that
 * @throws RangeError when the name is taken
 */
export async function addCpo(
  ctx: Pick<Context, 'db' | 'chance'> & Partial<Pick<Context, 'keys'>>,
  name: string,
  calling: { baseUrl?: string | undefined; outboundToken?: string | undefined } = {},
): Promise<Cpo> {
  const id = ctx.chance.uuid();
  // `keys` is read only when there is something to seal.
  const sealed =
    calling.outboundToken !== undefined && ctx.keys ? seal(ctx.keys, calling.outboundToken, id) : undefined;
  const [cpo] = await rows<Cpo>(
    ctx.db,
    `insert into cpos (id, name, base_url, outbound_token, outbound_key_id)
     values ($1, $2, $3, $4, $5) returning ${COLUMNS}`,
    [id, name, calling.baseUrl ?? null, sealed?.bytes ?? null, sealed?.keyId ?? null],
  ).catch((error: unknown) => {
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
 * Suspends or resumes a CPO, in force on every replica within a second.
 * @throws RangeError for an unknown id
 */
export async function setSuspended(db: Database, id: string, suspended: boolean): Promise<Cpo> {
  const [cpo] = isUuid(id)
    ? await rows<Cpo>(
        db,
        `with changed as (
           update cpos set suspended_at = case when $2 then coalesce(suspended_at, now()) end where id = $1 returning *
         ) select ${COLUMNS} from changed`,
        [id, suspended],
      )
    : [];
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

/** Sets where a CPO is called and with which token. */
export async function setCalling(ctx: Pick<Context, 'db' | 'keys'>, id: string, baseUrl: string, outboundToken: string): Promise<void> {
  const sealed = seal(ctx.keys, outboundToken, id);
  await rows(ctx.db, 'update cpos set base_url = $2, outbound_token = $3, outbound_key_id = $4 where id = $1', [
    id,
    baseUrl,
    sealed.bytes,
    sealed.keyId,
  ]);
}

/** CPOs that a customer may choose, by name, from behind the name `after`. */
export function listCallableCpos(db: Database, after: string, limit: number): Promise<{ id: string; name: string }[]> {
  return rows(
    db,
    `select id, name from cpos where suspended_at is null and base_url is not null and name > $1 order by name limit $2`,
    [after, limit],
  );
}
