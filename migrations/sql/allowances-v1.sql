-- Returns what remains of the limits on incorrect codes for each request of a batch: those of its CPO, which must be among
-- `cpo_ids`, and those of its uid. `uid_hashes` of a request holds the hash of CPO and uid under each known key.
create function public.scsp_allowances_v1(
  requests public.scsp_pair_request_v2[], cpo_ids uuid[], limits public.scsp_limits, at timestamptz
) returns setof public.scsp_allowance_v2
language sql stable
as $$
  with cpo as materialized (
    select * from public.scsp_remaining_v2(cpo_ids, limits, at, false)
  )
  select r.n, c.counted_at, c.limit_uid_10min, c.limit_uid_10min - u.failed_10min, c.limit_uid_24h, c.limit_uid_24h - u.failed_24h,
    c.limit_cpo_10min, c.left_cpo_10min, c.limit_cpo_24h, c.left_cpo_24h
  from unnest(requests) r join cpo c on c.cpo_id = r.cpo_id
  cross join lateral (
    select count(*)::integer as failed_24h,
      count(*) filter (where a.failed_at > c.counted_at - interval '10 minutes')::integer as failed_10min
    from public.failed_attempts a
    -- "is true" prevents the planner from using the primary key, of which the time is a part.
    where a.uid_hash = any (r.uid_hashes) and (a.failed_at > c.counted_at - interval '24 hours') is true
  ) u
$$;
