-- Whether anything of a CPO may still be counted: it has sent an incorrect code in the last 24 hours, to this version or to 0.1
-- (`half_hour` is when that has last counted). An hour more, because the times are not compared with the CPO's own.
create function public.scsp_counted_v1(counter public.cpo_tries) returns boolean
language sql stable
as $$
  select coalesce(counter.last_failed_at > now() - interval '25 hours', false)
    or counter.half_hour > extract(epoch from now()) / 1800 - 50
$$;
