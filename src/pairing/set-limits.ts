import { type Audited, audited, auditParameters } from '../audit/audit';
import { rows } from '../db/query';

/** The settings that a CPO may have of its own, by their column of `cpo_tries`. */
const COLUMNS = {
  LIMIT_CPO_UID_10MIN: 'limit_cpo_uid_10min',
  LIMIT_CPO_UID_24H: 'limit_cpo_uid_24h',
  LIMIT_CPO_10MIN: 'limit_cpo_10min',
  LIMIT_CPO_24H: 'limit_cpo_24h',
} as const;

export type LimitName = keyof typeof COLUMNS;
export const LIMIT_NAMES = Object.keys(COLUMNS) as LimitName[];

/** Undefined where the setting of the service holds. */
export type OwnLimits = Partial<Record<LimitName, number>>;

/** The limits that are a CPO's own. */
export async function ownLimits({ db }: Pick<Audited, 'db'>, cpoId: string): Promise<OwnLimits> {
  const columns = LIMIT_NAMES.map((name) => `${COLUMNS[name]} as "${name}"`).join(', ');
  const [found] = await rows<Record<LimitName, number | null>>(
    db,
    `select ${columns} from cpo_tries where cpo_id = $1`,
    [cpoId],
  );
  return Object.fromEntries(Object.entries(found ?? {}).filter(([, limit]) => limit !== null));
}

/** Gives a CPO a limit of its own, or with null that of the settings again; in force from the next request on. */
export async function setLimit(ctx: Audited, cpoId: string, name: LimitName, limit: number | null): Promise<void> {
  const set = `
with changed as (
  update cpo_tries set ${COLUMNS[name]} = $4 where cpo_id = $3 returning cpo_id as id
), ${audited('cpo.limits', 'jsonb_build_object($5::text, $4::integer)')}
select id from changed`;
  await rows(ctx.db, set, [...auditParameters(ctx), cpoId, limit, name]);
}

const RESET = `
with locked as materialized (
  select cpo_id from cpo_tries where cpo_id = $3 for update
), removed as (
  delete from failed_attempts f using locked l where f.cpo_id = l.cpo_id returning 1
), changed as (
  update cpo_tries t set wrong_at = '{}', wrong_uid = '{}', wrong_by_half_hour = '{}' from locked l where t.cpo_id = l.cpo_id
  returning t.cpo_id as id
), ${audited('cpo.limits-reset', `jsonb_build_object('failed_attempts', (select count(*) from removed))`)}
select id from changed`;

/** Forgets the incorrect codes that a CPO has sent, so that all of its limits begin anew. */
export async function resetLimits(ctx: Audited, cpoId: string): Promise<void> {
  await rows(ctx.db, RESET, [...auditParameters(ctx), cpoId]);
}
