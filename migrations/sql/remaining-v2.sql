-- Returns what remains of the limits on incorrect codes of some CPOs (contract, section 4). Pairings call it while they hold the
-- CPOs' counter locks (scsp_allowances_v1), GET /v1/scsp/me and `scsp status` without locks.
--
-- failed_attempts holds each attempt that counts. A CPO's attempts are numbered without gaps and their times never decrease, so
-- the number of attempts in a window is the difference of two sequence numbers: two look-ups, whatever the number of attempts.
-- `counted_at` is the CPO's logical time: never before its last attempt, whatever this server's clock says.
--
-- A success counts once for each user with a pairing that began in the window and has not ended. Successes are counted only if
-- the limit without them is used up, or if `successes` is true.
--
-- `offset 0` keeps the planner from repeating a look-up wherever its result is used.
create function public.scsp_remaining_v2(cpo_ids uuid[], limits public.scsp_limits, at timestamptz, successes boolean)
returns setof public.scsp_remaining
language sql stable
as $$
  select t.cpo_id, l.counted_at, l.uid_10min, l.uid_24h,
    l.cpo_10min + floor(limits.per_success * s.paired_10min)::integer,
    l.cpo_10min + floor(limits.per_success * s.paired_10min)::integer - f.failed_10min,
    l.cpo_24h + floor(limits.per_success * s.paired_24h)::integer,
    l.cpo_24h + floor(limits.per_success * s.paired_24h)::integer - f.failed_24h
  from public.cpo_tries t
  cross join lateral (
    select greatest(at, t.last_failed_at) as counted_at,
      coalesce(t.limit_cpo_uid_10min, limits.uid_10min) as uid_10min,
      coalesce(t.limit_cpo_uid_24h, limits.uid_24h) as uid_24h,
      coalesce(t.limit_cpo_10min, limits.cpo_10min) as cpo_10min,
      coalesce(t.limit_cpo_24h, limits.cpo_24h) as cpo_24h
  ) l
  cross join lateral (
    select
      coalesce(1 + t.failed_count - (
        select a.seq from public.failed_attempts a
        where a.cpo_id = t.cpo_id and a.failed_at > l.counted_at - interval '10 minutes'
        order by a.cpo_id, a.failed_at, a.seq limit 1), 0)::integer as failed_10min,
      coalesce(1 + t.failed_count - (
        select a.seq from public.failed_attempts a
        where a.cpo_id = t.cpo_id and a.failed_at > l.counted_at - interval '24 hours'
        order by a.cpo_id, a.failed_at, a.seq limit 1), 0)::integer as failed_24h
    offset 0
  ) f
  cross join lateral (
    select
      case when successes or f.failed_10min >= l.cpo_10min
        then public.scsp_paired_users_v1(t.cpo_id, l.counted_at - interval '10 minutes') else 0 end as paired_10min,
      case when successes or f.failed_24h >= l.cpo_24h
        then public.scsp_paired_users_v1(t.cpo_id, l.counted_at - interval '24 hours') else 0 end as paired_24h
    offset 0
  ) s
  where t.cpo_id = any (cpo_ids)
$$;
