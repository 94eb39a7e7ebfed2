-- Returns how many failed attempts 0.1 replicas have counted for a CPO in the ten minutes before `at`: for one uid, or for all
-- if `station_uid` is null.
create function public.scsp_failed_before_v1(counter public.cpo_tries, station_uid text, at timestamptz) returns integer
language sql stable
as $$
  select count(*)::integer from unnest(counter.wrong_at, counter.wrong_uid) w (at, uid)
  where w.at > scsp_failed_before_v1.at - interval '10 minutes' and (station_uid is null or w.uid = station_uid)
$$;
