-- Returns the seconds until every exhausted limit allows an attempt again. An exhausted limit is exceeded by -left attempts, so
-- it allows one when the attempt at offset -left, counted from the oldest, leaves the window.
create function public.scsp_retry_after_v1(
  cpo_id uuid, remaining public.scsp_remaining_uid, uid_hashes bytea[], station_uid text
) returns integer
language sql stable
as $$
  select greatest(1, ceil(extract(epoch from greatest(
    case when remaining.left_uid_10min <= 0 then (
      select f.failed_at from (
        select a.failed_at from public.failed_attempts a
        where a.uid_hash = any (uid_hashes) and a.failed_at > remaining.counted_at - interval '10 minutes'
        union all
        select w.at from public.cpo_tries t, unnest(t.wrong_at, t.wrong_uid) w (at, uid)
        where t.cpo_id = scsp_retry_after_v1.cpo_id and w.uid = station_uid
          and w.at > remaining.counted_at - interval '10 minutes'
      ) f order by f.failed_at offset -remaining.left_uid_10min limit 1) + interval '10 minutes' end,
    case when remaining.left_uid_24h <= 0 then (
      select a.failed_at from public.failed_attempts a
      where a.uid_hash = any (uid_hashes) and a.failed_at > remaining.counted_at - interval '24 hours'
      order by a.failed_at offset -remaining.left_uid_24h limit 1) + interval '24 hours' end,
    case when remaining.left_cpo_10min <= 0 then (
      select f.failed_at from (
        select a.failed_at from public.failed_attempts a
        where a.cpo_id = scsp_retry_after_v1.cpo_id and a.failed_at > remaining.counted_at - interval '10 minutes'
        union all
        select w from public.cpo_tries t, unnest(t.wrong_at) w
        where t.cpo_id = scsp_retry_after_v1.cpo_id and w > remaining.counted_at - interval '10 minutes'
      ) f order by f.failed_at offset -remaining.left_cpo_10min limit 1) + interval '10 minutes' end,
    case when remaining.left_cpo_24h <= 0 then (
      select f.failed_at from (
        select a.failed_at from public.failed_attempts a
        where a.cpo_id = scsp_retry_after_v1.cpo_id and a.failed_at > remaining.counted_at - interval '24 hours'
        union all
        -- Attempts counted by 0.1 replicas, per half hour with the newest first. Each counts from the end of its half hour.
        select to_timestamp((t.half_hour - b.i + 2) * 1800)
        from public.cpo_tries t, unnest(t.wrong_by_half_hour) with ordinality b (wrong, i), generate_series(1, b.wrong)
        where t.cpo_id = scsp_retry_after_v1.cpo_id
          and to_timestamp((t.half_hour - b.i + 2) * 1800) > remaining.counted_at - interval '24 hours'
      ) f order by f.failed_at offset -remaining.left_cpo_24h limit 1) + interval '24 hours' end
  ) - remaining.counted_at))::integer)
$$;
