import type { Config } from '../config';
import type { Context } from '../context';
import { rows } from '../db/database';

/**
 * What is left to a CPO of its incorrect codes (contract, section 4). `recent` needs a row of cpo_tries as `gate` and a
 * time as `at`. Counting errs on the safe side: an incorrect code counts until its whole bucket is old, a success stops
 * counting with the beginning of its own.
 */
const RECENT = (gate: string, at: string) => `
  (select count(*)::int from unnest(${gate}.wrong_at) w where w > ${at} - interval '10 minutes') as wrong_10min,
  scsp_recent(${gate}.right_by_minute, ${minuteOf(at)} - ${gate}.minute, 10) as right_10min,
  scsp_recent(${gate}.wrong_by_half_hour, ${halfHourOf(at)} - ${gate}.half_hour, 49) as wrong_24h,
  scsp_recent(${gate}.right_by_half_hour, ${halfHourOf(at)} - ${gate}.half_hour, 48) as right_24h`;

const minuteOf = (at: string) => `floor(extract(epoch from ${at}) / 60)::bigint`;
const halfHourOf = (at: string) => `floor(extract(epoch from ${at}) / 1800)::bigint`;

/** Settings of the limits as SQL text: whole numbers and a decimal that the settings have checked. */
const allowed = ({ limits }: Config) => ({
  min10: `(${limits.cpo10Min} + floor(${limits.perSuccess} * right_10min)::int)`,
  h24: `(${limits.cpo24H} + floor(${limits.perSuccess} * right_24h)::int)`,
});

/**
 * CTEs `gate` and `room`: locks the tries of the CPO in `$2`, so that simultaneous tries are counted one after the
 * other, and tells what is left. Once a limit is reached nothing but time helps.
 */
export function gate(config: Config): string {
  const { min10, h24 } = allowed(config);
  return `gate as materialized (
  select * from cpo_tries where cpo_id = $2 for update
), recent as materialized (
  select ${RECENT('gate', 'now()')} from gate
), room as materialized (
  select ${min10} as limit_10min, ${min10} - wrong_10min as left_10min, ${h24} as limit_24h, ${h24} - wrong_24h as left_24h
  from recent
)`;
}

/** CTE `counted`: adds the incorrect codes and successes of `outcome (outcome, station_uid)` to the locked row. */
export const COUNT = `counted as (
  update cpo_tries t
  set wrong_at = old.wrong_at || array_fill(now(), array[o.wrong]), wrong_uid = old.wrong_uid || o.wrong_uids,
    minute = ${minuteOf('now()')}, half_hour = ${halfHourOf('now()')},
    right_by_minute = scsp_add(scsp_roll(t.right_by_minute, ${minuteOf('now()')} - t.minute, 10), o.paired),
    wrong_by_half_hour = scsp_add(scsp_roll(t.wrong_by_half_hour, ${halfHourOf('now()')} - t.half_hour, 49), o.wrong),
    right_by_half_hour = scsp_add(scsp_roll(t.right_by_half_hour, ${halfHourOf('now()')} - t.half_hour, 48), o.paired)
  from (
    select count(*) filter (where outcome = 'incorrect-code')::int as wrong,
      count(*) filter (where outcome = 'paired')::int as paired,
      coalesce(array_agg(station_uid) filter (where outcome = 'incorrect-code'), '{}') as wrong_uids
    from outcome
  ) o, lateral (
    select coalesce(array_agg(w.at order by w.at), '{}') as wrong_at, coalesce(array_agg(w.uid order by w.at), '{}') as wrong_uid
    from gate g, unnest(g.wrong_at, g.wrong_uid) w (at, uid) where w.at > now() - interval '10 minutes'
  ) old
  where t.cpo_id = $2 and (o.wrong > 0 or o.paired > 0)
)`;

export type Limit = {
  readonly name: string;
  readonly limit: number;
  readonly left: number;
  readonly windowSeconds: number;
};

/** The row that PAIR answers of each request tells what is left after it. */
export type Room = { left10Min: number; left24H: number; limit10Min: number; limit24H: number; leftUid: number };

/** The limits on incorrect codes of a CPO, and what is left of them for a new uid. */
export async function limitsOf(ctx: Context, cpoId: string): Promise<Limit[]> {
  const { min10, h24 } = allowed(ctx.config);
  const [room] = await rows<{
    limit10Min: number;
    left10Min: number;
    limit24H: number;
    left24H: number;
    worstUid: number;
  }>(
    ctx.db,
    `select ${min10} as "limit10Min", ${min10} - wrong_10min as "left10Min", ${h24} as "limit24H",
       ${h24} - wrong_24h as "left24H",
       coalesce((select max(n) from (select count(*) as n from unnest(t.wrong_at, t.wrong_uid) w (at, uid)
         where w.at > now() - interval '10 minutes' group by uid) by_uid), 0)::int as "worstUid"
     from cpo_tries t, lateral (select ${RECENT('t', 'now()')}) recent where t.cpo_id = $1`,
    [cpoId],
  );
  if (room === undefined) return [];
  const perUid = ctx.config.limits.cpoUid10Min;
  return asLimits(ctx.config, { ...room, leftUid: perUid - room.worstUid });
}

/** In the order of their windows; `left` is never below 0. */
export function asLimits({ limits }: Config, room: Room): Limit[] {
  const limit = (name: string, limit: number, left: number, windowSeconds: number) => ({
    name,
    limit,
    left: Math.max(0, left),
    windowSeconds,
  });
  return [
    limit('incorrect-codes-uid-10min', limits.cpoUid10Min, room.leftUid, 600),
    limit('incorrect-codes-cpo-10min', room.limit10Min, room.left10Min, 600),
    limit('incorrect-codes-cpo-24h', room.limit24H, room.left24H, 86_400),
  ];
}

/** The headers of draft-ietf-httpapi-ratelimit-headers-10: each policy, and what is left of it. */
export function rateLimitHeaders(limits: readonly Limit[], retryAfter: number | undefined): Record<string, string> {
  const wait = (left: number) => (left === 0 && retryAfter !== undefined ? `;t=${retryAfter}` : '');
  return {
    'RateLimit-Policy': limits
      .map(({ name, limit, windowSeconds }) => `"${name}";q=${limit};w=${windowSeconds}`)
      .join(', '),
    RateLimit: limits.map(({ name, left }) => `"${name}";r=${left}${wait(left)}`).join(', '),
  };
}
