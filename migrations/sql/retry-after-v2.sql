-- Returns the seconds until every exhausted limit allows an attempt of the request again. An exhausted limit is exceeded by -left
-- attempts, so it allows one when the attempt at offset -left, counted from the oldest, leaves the window.
--
-- "is true" prevents the planner from using the primary key, of which the time is a part.
create function public.scsp_retry_after_v2(request public.scsp_pair_request_v2, allowance public.scsp_allowance_v2)
returns integer
language sql stable
as $$
  select greatest(1, ceil(extract(epoch from greatest(
    case when allowance.left_uid_10min <= 0 then (
      select a.failed_at from public.failed_attempts a
      where a.uid_hash = any (request.uid_hashes) and (a.failed_at > allowance.counted_at - interval '10 minutes') is true
      order by a.failed_at offset -allowance.left_uid_10min limit 1) + interval '10 minutes' end,
    case when allowance.left_uid_24h <= 0 then (
      select a.failed_at from public.failed_attempts a
      where a.uid_hash = any (request.uid_hashes) and (a.failed_at > allowance.counted_at - interval '24 hours') is true
      order by a.failed_at offset -allowance.left_uid_24h limit 1) + interval '24 hours' end,
    case when allowance.left_cpo_10min <= 0 then (
      select a.failed_at from public.failed_attempts a
      where a.cpo_id = request.cpo_id and a.failed_at > allowance.counted_at - interval '10 minutes'
      order by a.failed_at offset -allowance.left_cpo_10min limit 1) + interval '10 minutes' end,
    case when allowance.left_cpo_24h <= 0 then (
      select a.failed_at from public.failed_attempts a
      where a.cpo_id = request.cpo_id and a.failed_at > allowance.counted_at - interval '24 hours'
      order by a.failed_at offset -allowance.left_cpo_24h limit 1) + interval '24 hours' end
  ) - allowance.counted_at))::integer)
$$;
