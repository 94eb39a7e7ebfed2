-- Whether anything of a CPO may still be counted: it has sent an incorrect code in the last 24 hours, or 0.1 has counted some.
create function public.scsp_counted_v1(counter public.cpo_tries) returns boolean
language sql stable
as $$
  select coalesce(counter.last_failed_at > now() - interval '25 hours', false)
    or counter.wrong_at <> '{}' or counter.wrong_by_half_hour <> '{}'
$$;
