import { type Audited, audited, auditParameters } from '../audit/audit';
import { rows } from '../db/query';

/** Maps each setting that can be overridden for one CPO to its column of `cpo_tries`. */
const COLUMNS = {
  LIMIT_CPO_UID_10MIN: 'limit_cpo_uid_10min',
  LIMIT_CPO_UID_24H: 'limit_cpo_uid_24h',
  LIMIT_CPO_10MIN: 'limit_cpo_10min',
  LIMIT_CPO_24H: 'limit_cpo_24h',
} as const;

export type LimitName = keyof typeof COLUMNS;
export const LIMIT_NAMES = Object.keys(COLUMNS) as LimitName[];

/** Holds a CPO's overrides; an absent limit falls back to the service's setting. */
export type LimitOverrides = Partial<Record<LimitName, number>>;

/** Returns a CPO's limit overrides. */
export async function limitOverrides({ db }: Pick<Audited, 'db'>, cpoId: string): Promise<LimitOverrides> {
  const columns = LIMIT_NAMES.map((name) => `${COLUMNS[name]} as "${name}"`).join(', ');
  const [found] = await rows<Record<LimitName, number | null>>(
    db,
    `select ${columns} from cpo_tries where cpo_id = $1`,
    [cpoId],
  );
  return Object.fromEntries(Object.entries(found ?? {}).filter(([, limit]) => limit !== null));
}

/** Overrides a limit for one CPO, or removes the override if `limit` is null. Takes effect with the next request. */
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
  -- Changes nothing but the version of the row, so that a pairing that waits for it at a stricter isolation level is sent again.
  update cpo_tries t set failed_count = t.failed_count from locked l where t.cpo_id = l.cpo_id
  returning t.cpo_id as id
), ${audited('cpo.limits-reset', `jsonb_build_object('failed_attempts', (select count(*) from removed))`)}
select id from changed`;

/** Resets a CPO's limits by deleting its failed attempts. */
export async function resetLimits(ctx: Audited, cpoId: string): Promise<void> {
  await rows(ctx.db, RESET, [...auditParameters(ctx), cpoId]);
}
