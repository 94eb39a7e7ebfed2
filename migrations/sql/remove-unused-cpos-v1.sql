-- Removes self-service CPOs of a sandbox deployment that were not used for 24 hours and have been suspended for a minute, with
-- everything that belongs to them, in batches: each call deletes rows of one table of one CPO, or the CPO itself when nothing is
-- left. A request that was let in before the suspension has ended by then.
--
--   step                  | locks, until the commit       | rows
--   ----------------------+-------------------------------+--------------------------------------------------------------
--   1 choose a CPO        | cpos, skip locked             | reads tokens
--   2 delete a batch      |                               | deletes of one table; pairings cascade to stations and outbox
--   3 delete the CPO      |                               | deletes cpos; cascades to the few rows of other tables
--
-- Returns no row if there is nothing to remove; `removed` is the id of a CPO that is gone. Runs as the owner of the tables: the
-- service itself may delete neither CPOs nor tokens nor pairings.
create function public.scsp_remove_unused_cpos_v1(largest integer) returns table (removed uuid)
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  unused uuid;
  part text;
  deleted integer;
begin
  -- 1. Choose a CPO.
  select c.id into unused
  from public.cpos c
  left join (
    select t.cpo_id, max(greatest(t.created_at, t.last_used_at)) as used_at from public.tokens t group by t.cpo_id
  ) u on u.cpo_id = c.id
  where c.sandbox and c.suspended_at < now() - interval '1 minute'
    and greatest(c.created_at, u.used_at) < now() - interval '24 hours'
  order by c.id limit 1 for update of c skip locked;
  if not found then
    return;
  end if;

  -- 2. Delete a batch. A station has up to 2,000 connectors, which are deleted with its pairing.
  delete from public.events e where e.cpo_id = unused and e.position is null and e.seq is not null;
  foreach part in array array['calls', 'outbox', 'idempotency_keys', 'attempts', 'failed_attempts', 'pairings', 'pairing_codes', 'tokens'] loop
    execute format(
      'delete from public.%1$I where ctid = any (array(select ctid from public.%1$I where cpo_id = $1 limit $2))', part)
    using unused, case part when 'pairings' then least(largest, 5) else largest end;
    get diagnostics deleted = row_count;
    if deleted > 0 then
      return query select null::uuid;
      return;
    end if;
  end loop;

  -- 3. Delete the CPO.
  delete from public.cpos c where c.id = unused;
  return query select unused;
end $$;
