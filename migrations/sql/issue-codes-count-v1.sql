-- Counts the codes that a statement inserts into pairing_codes, whether the statement comes from this version, a 0.1 replica or a
-- restored dump.
--
-- | step                  | rows                                                                                    |
-- |-----------------------|-----------------------------------------------------------------------------------------|
-- | count                 | upserts issued_code_counts (each length and hour) and active_code_counts (each length)  |
-- | note missing keys     | upserts code_neighbours_missing, unless the keys are stored                             |
--
-- Issuing codes holds advisory lock 7305002, so nothing waits for locks on these rows. Runs as the owner of the tables, because
-- during a rolling upgrade 0.1 replicas insert as a role without privileges on them.
create function public.scsp_count_issued_codes_v1() returns trigger
language plpgsql security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
  if not exists (
    select from inserted i where i.created_at <> now()::timestamptz(3) and i.created_at > now() - interval '25 hours') then
    -- Count newly issued codes.
    insert into public.issued_code_counts as c (length, hour, issued)
    select i.length, floor(extract(epoch from i.created_at) / 3600)::int as hour, count(*)
    from inserted i where i.created_at > now() - interval '25 hours' group by i.length, hour
    on conflict on constraint issued_code_counts_pkey do update set issued = c.issued + excluded.issued;

    insert into public.active_code_counts as c (length, active)
    select i.length, count(*) from inserted i where i.status = 'active' group by i.length
    on conflict on constraint active_code_counts_pkey do update set active = c.active + excluded.active;

    -- Note missing keys: record until when codes without neighbour keys (of 0.1 replicas) may be active.
    if current_setting('scsp.stores_neighbours', true) is distinct from 'on' then
      insert into public.code_neighbours_missing as m (until)
      select max(i.expires_at) from inserted i where i.status = 'active' having max(i.expires_at) > now()
      on conflict on constraint code_neighbours_missing_pkey do update set until = greatest(m.until, excluded.until);
    end if;
    return null;
  end if;

  -- Recount all codes: these were issued earlier and are being restored, possibly after their counts and keys.
  insert into public.issued_code_counts as c (length, hour, issued)
  select p.length, floor(extract(epoch from p.created_at) / 3600)::int as hour, count(*)
  from public.pairing_codes p where p.created_at > now() - interval '25 hours' group by p.length, hour
  on conflict on constraint issued_code_counts_pkey do update set issued = greatest(c.issued, excluded.issued);

  insert into public.active_code_counts as c (length, active)
  select p.length, count(*) from public.pairing_codes p where p.status = 'active' group by p.length
  on conflict on constraint active_code_counts_pkey do update set active = greatest(c.active, excluded.active);

  insert into public.code_neighbours_missing as m (until)
  select max(i.expires_at) from inserted i
  where i.status = 'active' and i.id not in (select n.code_id from public.code_neighbours n)
  having max(i.expires_at) > now()
  on conflict on constraint code_neighbours_missing_pkey do update set until = greatest(m.until, excluded.until);
  return null;
end $$;
