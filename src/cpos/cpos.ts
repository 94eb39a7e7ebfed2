import { validate as isUuid } from 'uuid';
import type { Context } from '../context';
import { type Database, rows, violates } from '../db/database';

export type Cpo = {
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string | null;
  readonly createdAt: Date;
  readonly suspendedAt: Date | null;
};

const COLUMNS = `id, name, base_url as "baseUrl", created_at as "createdAt", suspended_at as "suspendedAt"`;

/**
 * Registers a CPO.
 * @throws RangeError when the name is taken
 */
export async function addCpo(ctx: Pick<Context, 'db' | 'chance'>, name: string, baseUrl?: string): Promise<Cpo> {
  const [cpo] = await rows<Cpo>(
    ctx.db,
    `insert into cpos (id, name, base_url) values ($1, $2, $3) returning ${COLUMNS}`,
    [ctx.chance.uuid(), name, baseUrl ?? null],
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
