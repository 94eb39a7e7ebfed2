import type { MigrationInterface, QueryRunner } from 'typeorm';

// pg_dump and pg_restore work with an empty search_path, under which functions must find the tables too.
const UP = `
create or replace function scsp_cpo_added() returns trigger language plpgsql set search_path = '' as $$
begin
  insert into public.cpo_tries (cpo_id) values (new.id);
  return null;
end $$;
alter function scsp_tokens_changed() set search_path = '';
alter function scsp_append_only() set search_path = '';

-- A restore of the data alone inserts the rows of cpo_tries after those that the trigger on cpos has made for them.
create function scsp_cpo_tries_restored() returns trigger language plpgsql set search_path = '' as $$
begin
  delete from public.cpo_tries where cpo_id = new.cpo_id;
  return new;
end $$;
create trigger cpo_tries_restored before insert on cpo_tries
  for each row execute function scsp_cpo_tries_restored();
`;

const DOWN = `
drop trigger cpo_tries_restored on cpo_tries;
drop function scsp_cpo_tries_restored();
alter function scsp_append_only() reset search_path;
alter function scsp_tokens_changed() reset search_path;
create or replace function scsp_cpo_added() returns trigger language plpgsql as $$
begin
  insert into cpo_tries (cpo_id) values (new.id);
  return null;
end $$;
`;

export class FunctionsWithSchema1764000000009 implements MigrationInterface {
  name = 'FunctionsWithSchema1764000000009';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
