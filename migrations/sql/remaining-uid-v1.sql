-- Returns what remains of a CPO's limits and of those for one of its uids. `uid_hashes` holds the hash of CPO and uid under each
-- known key, the current key first.
create function public.scsp_remaining_uid_v1(remaining public.scsp_remaining, uid_hashes bytea[], station_uid text)
returns setof public.scsp_remaining_uid
language sql stable
as $$
  select remaining.counted_at,
    remaining.limit_uid_10min,
    remaining.limit_uid_10min
      - count(*) filter (where a.failed_at > remaining.counted_at - interval '10 minutes')::integer
      -- Failed attempts counted by 0.1 replicas.
      - (select case when t.wrong_at = '{}' then 0 else public.scsp_failed_before_v1(t, station_uid, remaining.counted_at) end
         from public.cpo_tries t where t.cpo_id = remaining.cpo_id),
    remaining.limit_uid_24h,
    remaining.limit_uid_24h - count(*)::integer,
    remaining.limit_cpo_10min, remaining.left_cpo_10min, remaining.limit_cpo_24h, remaining.left_cpo_24h
  from public.failed_attempts a
  where a.uid_hash = any (uid_hashes) and a.failed_at > remaining.counted_at - interval '24 hours'
$$;
