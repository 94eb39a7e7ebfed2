import type { Config } from '../config';
import type { Context } from '../context';
import { rows } from '../db/query';

export type Limit = {
  readonly name: string;
  readonly limit: number;
  readonly left: number;
  readonly windowSeconds: number;
};

/** Holds what remains of a CPO's limits on incorrect codes. Each `limit` includes the allowance earned by successes. */
export type Remaining = {
  readonly limitUid10Min: number;
  readonly leftUid10Min: number;
  readonly limitUid24H: number;
  readonly leftUid24H: number;
  readonly limitCpo10Min: number;
  readonly leftCpo10Min: number;
  readonly limitCpo24H: number;
  readonly leftCpo24H: number;
};

/** Formats the settings as a literal of the composite type `scsp_limits`. */
export function limitsRow({ cpoUid10Min, cpoUid24H, cpo10Min, cpo24H, perSuccess }: Config['limits']): string {
  return `(${[cpoUid10Min, cpoUid24H, cpo10Min, cpo24H, perSuccess].join(',')})`;
}

const REMAINING_OF_CPO = `
with m as (
  -- Without the limit the planner expects 1,000 rows.
  select * from scsp_remaining_v2(array[$1::uuid], $2, clock_timestamp(), true) limit 1
), uid as (
  select count(*) as failed_24h,
    count(*) filter (where f.failed_at > m.counted_at - interval '10 minutes') as failed_10min
  from m join failed_attempts f on f.cpo_id = $1 and f.failed_at > m.counted_at - interval '24 hours'
  group by f.uid_hash
)
select m.limit_uid_10min as "limitUid10Min",
  m.limit_uid_10min - coalesce((select max(failed_10min) from uid), 0)::int as "leftUid10Min",
  m.limit_uid_24h as "limitUid24H", m.limit_uid_24h - coalesce((select max(failed_24h) from uid), 0)::int as "leftUid24H",
  m.limit_cpo_10min as "limitCpo10Min", m.left_cpo_10min as "leftCpo10Min",
  m.limit_cpo_24h as "limitCpo24H", m.left_cpo_24h as "leftCpo24H"
from m`;

/** Returns a CPO's limits on incorrect codes and what remains. For uids, that is the uid with the least remaining. */
export async function limitsOf(ctx: Pick<Context, 'db' | 'config'>, cpoId: string): Promise<Limit[]> {
  const found = await rows<Remaining>(ctx.db, REMAINING_OF_CPO, [cpoId, limitsRow(ctx.config.limits)]);
  return found.flatMap(toLimits);
}

/** Converts a row to the list of limits, shortest window first for each scope. `left` is never negative. */
export function toLimits(remaining: Remaining): Limit[] {
  const limit = (name: string, limit: number, left: number, windowSeconds: number) => ({
    name,
    limit,
    left: Math.max(0, left),
    windowSeconds,
  });
  return [
    limit('incorrect-codes-uid-10min', remaining.limitUid10Min, remaining.leftUid10Min, 600),
    limit('incorrect-codes-uid-24h', remaining.limitUid24H, remaining.leftUid24H, 86_400),
    limit('incorrect-codes-cpo-10min', remaining.limitCpo10Min, remaining.leftCpo10Min, 600),
    limit('incorrect-codes-cpo-24h', remaining.limitCpo24H, remaining.leftCpo24H, 86_400),
  ];
}

/** Returns `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). */
export function rateLimitHeaders(limits: readonly Limit[], retryAfter: number | undefined): Record<string, string> {
  const reset = (left: number) => (left === 0 && retryAfter !== undefined ? `;t=${retryAfter}` : '');
  return {
    'RateLimit-Policy': limits
      .map(({ name, limit, windowSeconds }) => `"${name}";q=${limit};w=${windowSeconds}`)
      .join(', '),
    RateLimit: limits.map(({ name, left }) => `"${name}";r=${left}${reset(left)}`).join(', '),
  };
}
