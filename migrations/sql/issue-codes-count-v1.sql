-- Counts the codes that a statement has inserted into pairing_codes, whichever version of the service, or restore, it comes from.
--
-- | step                     | rows                                                          |
-- |--------------------------|---------------------------------------------------------------|
-- | count issued values      | upserts issued_code_counts, for each length and hour          |
-- | count active codes       | upserts active_code_counts, for each length                   |
-- | note missing keys        | upserts code_neighbours_missing, unless the keys are stored   |
--
-- Runs as the owner of the tables: during a roll-out the previous version inserts as a role that has no right to them yet.
create function public.scsp_count_issued_codes_v1() returns trigger
language plpgsql security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
  -- Count issued values, as long as they may not be issued again.
  insert into public.issued_code_counts as c (length, hour, issued)
  select i.length, floor(extract(epoch from i.created_at) / 3600)::int as hour, count(*)
  from inserted i where i.created_at > now() - interval '25 hours' group by i.length, hour
  on conflict on constraint issued_code_counts_pkey do update set issued = c.issued + excluded.issued;

  -- Count active codes.
  insert into public.active_code_counts as c (length, active)
  select i.length, count(*) from inserted i where i.status = 'active' group by i.length
  on conflict on constraint active_code_counts_pkey do update set active = c.active + excluded.active;

  -- Note missing keys: until when codes are active whose neighbour keys nobody knows.
  if current_setting('scsp.stores_neighbours', true) is distinct from 'on' then
    insert into public.code_neighbours_missing as m (until)
    select max(i.expires_at) from inserted i where i.status = 'active' having max(i.expires_at) > now()
    on conflict on constraint code_neighbours_missing_pkey do update set until = greatest(m.until, excluded.until);
  end if;
  return null;
end $$;
