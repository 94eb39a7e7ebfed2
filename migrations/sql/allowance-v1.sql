-- Returns how many incorrect codes each request has left under the limits of its CPO (`remaining`) and of its uid.
create function public.scsp_allowance_v1(request public.scsp_pair_request[], remaining public.scsp_remaining[])
returns setof public.scsp_allowance
language sql stable
as $$
  select r.n, m.counted_at, least(m.left_cpo_10min, m.left_cpo_24h), least(u.left_uid_10min, u.left_uid_24h)
  from unnest(request) r join unnest(remaining) m on m.cpo_id = r.cpo_id
  cross join lateral public.scsp_remaining_uid_v1(m, r.uid_hashes, r.station_uid) u
$$;
