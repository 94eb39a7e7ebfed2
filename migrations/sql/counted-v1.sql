-- Returns whether any failed attempt of a CPO may still count: it has sent an incorrect code in the last 24 hours, to this
-- version or to a 0.1 replica (which last counted at `half_hour`). Allows an extra hour, because the times are compared with
-- now() instead of the CPO's `counted_at`.
create function public.scsp_counted_v1(counter public.cpo_tries) returns boolean
language sql stable
as $$
  select coalesce(counter.last_failed_at > now() - interval '25 hours', false)
    or counter.half_hour > extract(epoch from now()) / 1800 - 50
$$;
