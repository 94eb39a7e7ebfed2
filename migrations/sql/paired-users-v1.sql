-- How many users have a pairing with a CPO that began after a time and lasts: its successes, as the limits count them.
-- The least id (UUIDv7) of that time bounds what is read; ids come from the clocks of the replicas, which are trusted to be right
-- by an hour.
create function public.scsp_paired_users_v1(cpo_id uuid, since timestamptz) returns integer
language sql stable
as $$
  select count(distinct p.user_id)::integer from public.pairings p
  where p.cpo_id = scsp_paired_users_v1.cpo_id and p.ended_at is null and p.user_id is not null and p.paired_at > since
    and p.id > (lpad(to_hex(greatest(0, floor(extract(epoch from since - interval '1 hour') * 1000))::bigint), 12, '0')
      || '00000000000000000000')::uuid
$$;
