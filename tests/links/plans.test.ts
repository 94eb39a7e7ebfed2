import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { CURRENT_LINKS, CURRENT_LINKS_OF_CPO, RESOLVE_LINKS } from '../../src/links/links';
import { createTestDatabase } from '../harness/harness';

// Whatever the planner believes of the tables, an answer must not read more than its own rows.

let database: Awaited<ReturnType<typeof createTestDatabase>>;
let sql: Client;
beforeEach(async () => {
  database = await createTestDatabase();
  sql = new Client(database.url);
  await sql.connect();
});
afterEach(async () => {
  await sql.end();
  await database.drop();
});

const STATIONS = 10_000;
/** For a larger one, to read so small a table is cheaper. */
const PAGE = 100;
const cpos = [randomUUID(), randomUUID()].sort();

/** Each station of two CPOs has been unpaired twice; every second one is paired again. One has been unpaired a thousand times. */
async function fill(): Promise<void> {
  await sql.query(
    `insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at, ended_at)
     select gen_random_uuid(), ($1::uuid[])[1 + i % 2], 's' || i, 'u' || i, 'home',
       now() - make_interval(hours => 10 * n), case when n > 1 or i % 2 = 0 then now() - make_interval(hours => 10 * n - 5) end
     from generate_series(1, $2) i, generate_series(1, 3) n`,
    [cpos, STATIONS],
  );
  await sql.query(
    `insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at, ended_at)
     select gen_random_uuid(), $1::uuid, 'often', 'u' || n, 'home', now() - make_interval(hours => n), now() - make_interval(hours => n)
     from generate_series(1, 1000) n
     union all
     -- A clock was set back by an hour: these have no length.
     select gen_random_uuid(), $1::uuid, 'back', 'u' || n, 'home', now() - interval '5 hours' * (n = 1)::int, now()
     from generate_series(1, 1000) n`,
    [cpos[0]],
  );
  await sql.query(
    `insert into stations (pairing_id, uid, payload_protocol) select id, station_uid, 'ocpp1.6' from pairings`,
  );
}

/** Runs a statement; returns its rows, and what it read: entries of indexes, and tables from end to end. */
async function reading(run: () => Promise<{ rows: Record<string, unknown>[] }>) {
  const counted = async () => {
    const { rows: indexes } = await sql.query(
      'select coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0)::int as entries from pg_stat_user_indexes',
    );
    const { rows: tables } = await sql.query(
      'select relname, pg_stat_get_xact_numscans(relid)::int as n from pg_stat_user_tables',
    );
    const scans = new Map<string, number>(tables.map(({ relname, n }) => [relname, n]));
    return { entries: indexes[0].entries as number, scans };
  };
  await sql.query('begin');
  const before = await counted();
  const { rows } = await run();
  const after = await counted();
  await sql.query('commit');
  const wholeTables = [...after.scans.keys()].filter((table) => after.scans.get(table) !== before.scans.get(table));
  return { rows, entries: after.entries - before.entries, wholeTables };
}

const BELIEFS: Readonly<Record<string, () => Promise<void>>> = {
  'analyzed after they were filled': async () => {
    await fill();
    await sql.query('vacuum analyze');
  },
  'believed to be empty': async () => {
    await sql.query('alter table pairings set (autovacuum_enabled = off)');
    await sql.query('alter table stations set (autovacuum_enabled = off)');
    await sql.query('vacuum analyze');
    await fill();
  },
};

describe.each(Object.entries(BELIEFS))('in tables that are %s', (_name, prepare) => {
  beforeEach(prepare);

  test('a question reads a few entries of indexes, whatever the number of questions, pairings and unpairs', async () => {
    const hour = 3_600_000;
    const at = (ago: number | null) => (ago === null ? null : new Date(Date.now() - ago * hour).toISOString());
    const questions = Array.from({ length: 500 }, (_, n) => ({
      uid: n % 10 === 0 ? 'often' : n % 10 === 1 ? 'back' : `s${n * 7}`,
      at: at([null, 7, 17, 27, 2, 999][n % 6] ?? null),
    }));
    for (const some of [questions.slice(2, 3), questions]) {
      const { rows, entries, wholeTables } = await reading(() =>
        sql.query(RESOLVE_LINKS, [some.map(({ uid }) => uid), some.map(() => cpos[0]), some.map((one) => one.at)]),
      );
      expect(rows).toHaveLength(some.length);
      expect(wholeTables).toEqual([]);
      expect(entries).toBeGreaterThan(0);
      expect(entries).toBeLessThan(some.length * 4);
    }
    const answered = await sql.query(RESOLVE_LINKS, [
      ['back', 's2'],
      [cpos[0], cpos[0]],
      [at(2), at(7)],
    ]);
    expect(answered.rows).toMatchObject([{ userId: 'u1' }, { userId: 'u2' }]);
  });

  test('a page of links reads its own entries of indexes', async () => {
    const middle = (
      await sql.query('select cpo_id, id from pairings where ended_at is null order by 1, 2 offset 2500 limit 1')
    ).rows[0];
    await sql.query('set enable_bitmapscan = off');
    for (const statement of [CURRENT_LINKS, CURRENT_LINKS_OF_CPO]) {
      const { rows, entries, wholeTables } = await reading(() =>
        sql.query(statement, [middle.cpo_id, middle.id, PAGE]),
      );
      expect(rows).toHaveLength(PAGE);
      expect(wholeTables).toEqual([]);
      expect(entries).toBeLessThan(PAGE * 2.1);
    }
  });
});
