-- Returns a CPO's successes, as the limits count them: the number of users with a pairing that began after `since` and has not
-- ended. The smallest UUIDv7 of that time bounds the index scan. Replicas generate the ids, so their clocks are assumed to be
-- correct within an hour.
create function public.scsp_paired_users_v1(cpo_id uuid, since timestamptz) returns integer
language sql stable
as $$
  select count(distinct p.user_id)::integer from public.pairings p
  where p.cpo_id = scsp_paired_users_v1.cpo_id and p.ended_at is null and p.user_id is not null and p.paired_at > since
    and p.id > (lpad(to_hex(greatest(0, floor(extract(epoch from since - interval '1 hour') * 1000))::bigint), 12, '0')
      || '00000000000000000000')::uuid
$$;
