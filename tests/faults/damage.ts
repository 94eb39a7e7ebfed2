/** What must hold of every pairing, whatever crashed: counted in the database itself. */
export const DAMAGE = `
select
  (select count(*)::int from pairings p where (select count(*) from stations s where s.pairing_id = p.id) <> 1
    or (select count(*) from evses e where e.pairing_id = p.id) <> 2
    or (select count(*) from connectors c where c.pairing_id = p.id) <> 3) as half_stored,
  (select count(*)::int from pairing_codes c where c.status = 'used'
    and not exists (select from pairings p where p.code_id = c.id)) as used_up_for_nothing,
  (select count(*)::int from pairings p where not exists
    (select from pairing_codes c where c.id = p.code_id and c.status = 'used')) as without_code,
  (select count(*)::int from pairings p where (select count(*) from events e where e.pairing_id = p.id
    and e.type = 'station.paired') <> 1) as events_lost_or_doubled`;
export const UNHARMED = { half_stored: 0, used_up_for_nothing: 0, without_code: 0, events_lost_or_doubled: 0 };
