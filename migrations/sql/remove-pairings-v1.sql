-- Removes pairings that have ended, with the codes that made them. Stations, EVSEs, connectors and notifications go with them (on
-- delete cascade). Returns the number of pairings.
--
--   step              | locks, until the commit | rows
--   ------------------+-------------------------+--------------------------------------------------
--   remove pairings   | pairings                | deletes pairings; cascades
--   remove codes      | pairing_codes           | deletes codes that no pairing refers to any more
--
-- The caller chooses the pairings and has locked them. Runs as the owner of the tables: the service itself may not delete pairings,
-- and cannot make this function delete one that lasts or ended less than 7 days ago, the least that PAIRINGS_KEEP_DAYS can be.
create function public.scsp_remove_pairings_v1(ids uuid[]) returns integer
language sql security definer
set search_path = ''
as $$
  with removed as (
    delete from public.pairings where id = any (ids) and ended_at < now() - interval '7 days' returning code_id
  ), codes as (
    delete from public.pairing_codes where id = any (array(select code_id from removed))
  )
  select count(*)::integer from removed
$$;
