import { createSecretKey, type KeyObject, randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { codesWithinOneEdit, deletionNeighbours, hashCode, neighbourKeys } from '../../src/codes/code';
import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { migrate } from '../../src/db/migrate';
import { createDataSource } from '../../src/db/pool';
import { asBytea } from '../../src/db/query';
import { schema } from '../../src/db/schema';
import { createTestDatabase, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

const [KEY] = deriveKeys(SECRET_KEY).pairingCode as [KeyObject];
const times = <T>(n: number, make: (i: number) => T) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const count = (answers: { status: number }[], wanted: number) =>
  answers.filter(({ status }) => status === wanted).length;

/** A random source that yields these values first. */
const dealing = (...codes: string[]) => ({ ...random, digits: (n: number) => codes.shift() ?? random.digits(n) });

const issue = (service: Harness, user_id: string, charging_location_id: string = randomUUID()) =>
  service.request('POST', '/v1/app/pairing-codes', {
    token: service.appToken,
    body: { user_id, charging_location_id },
  });
const cancel = (service: Harness, id: string) =>
  service.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: service.appToken });

/** Inserts a code as a replica of the previous version does. */
async function insertAsBefore(service: Pick<Harness, 'sql'>, code: string): Promise<string> {
  const id = randomUUID();
  await service.sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
     values ($1, $2, $3, $4, 'home', now() + interval '10 minutes')`,
    [id, hashCode(KEY, code), code.length, randomUUID()],
  );
  return id;
}

/** Inserts so many codes of a length that have ended, issued so long ago. */
const insertEnded = (service: Harness, length: number, n: number, ago = '1 hour') =>
  service.sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, created_at, expires_at, ended_at)
     select gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), $1, i, 'home', 'cancelled',
       now() - $3::interval, now() - $3::interval, now() - $3::interval
     from generate_series(1, $2::int) i`,
    [length, n, ago],
  );

/** The number of edits between two strings: a character changed, added or missing, or two neighbours swapped. */
function distance(a: string, b: string): number {
  const d = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => i || j));
  const at = (i: number, j: number) => d[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      (d[i] as number[])[j] = Math.min(
        at(i - 1, j) + 1,
        at(i, j - 1) + 1,
        at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
        swapped ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
  return at(a.length, b.length);
}

const strings = (length: number, digits: string): string[] =>
  length === 0 ? [''] : strings(length - 1, digits).flatMap((text) => Array.from(digits, (digit) => text + digit));

describe('neighbour keys', () => {
  test.each([
    [6, '01'],
    [4, '012'],
  ])('any two codes within one edit have a deletion neighbour in common: %d digits of %s', (length, digits) => {
    const others = [length - 1, length, length + 1].flatMap((n) => strings(n, digits));
    const neighbours = new Map(others.map((other) => [other, deletionNeighbours(other)]));
    let within = 0;
    for (const code of strings(length, digits)) {
      const own = new Set(deletionNeighbours(code));
      for (const other of others) {
        if (distance(code, other) > 1) continue;
        within += 1;
        if (!neighbours.get(other)?.some((neighbour) => own.has(neighbour)))
          throw new Error(`${code} and ${other} share none`);
      }
    }
    expect(within).toBeGreaterThan(digits.length ** length * length);
  });

  test('with all ten digits, every code shares one with each of its near twins', () => {
    for (const code of strings(4, '0123456789')) {
      const own = new Set(deletionNeighbours(code));
      for (const twin of codesWithinOneEdit(code))
        if (!deletionNeighbours(twin).some((neighbour) => own.has(neighbour)))
          throw new Error(`${code} and ${twin} share none`);
    }
  });

  test('are keyed, and unlike the hash of a code', () => {
    const [own] = neighbourKeys(KEY, '362821');
    expect(neighbourKeys(KEY, '362821')).toHaveLength(7);
    expect(neighbourKeys(KEY, '112233')).toHaveLength(4);
    expect(own).not.toBe(neighbourKeys(createSecretKey(Buffer.alloc(32)), '362821')[0]);
    expect(own).not.toBe(hashCode(KEY, '362821').readBigInt64BE().toString());
  });
});

describe('near twins', () => {
  let service: Harness;
  beforeAll(async () => {
    service = await startHarness();
  });
  afterAll(() => service.stop());
  const replica = (drawn: string[], settings = {}) =>
    startHarness(settings, { databaseUrl: service.databaseUrl, random: dealing(...drawn) });

  test('of codes that are drawn from few values, by two replicas at once, no two are within one edit', async () => {
    const few = (digit: string) => ({
      ...random,
      digits: (n: number) => (Math.random() < 0.2 ? random.digits(n) : `7${random.digits(3)}`.padEnd(n, digit)),
    });
    const database = await createTestDatabase();
    const two = await times(2, (i) => startHarness({}, { databaseUrl: database.url, random: few(`${i}`) }));
    const codes = (await times(48, (i) => (two[i % 2] as Harness).code())).map(({ code }) => code);
    for (const [i, code] of codes.entries())
      for (const other of codes.slice(i + 1))
        expect([code, other, distance(code, other) > 1]).toEqual([code, other, true]);
    expect(codes.filter((code) => /^7.*(00|11)$/.test(code)).length).toBeGreaterThan(10);
    for (const each of two) await each.stop();
    await database.drop();
  });

  test('of an active code are refused in other lengths too, and after it has ended they are issued', async () => {
    const six = await replica(['482915']);
    const { id } = await six.code();
    const seven = await replica(['4829150', '0482915', '4892915', '4829915', '2000001'], { CODE_LENGTH: '7' });
    expect((await seven.code()).code).toBe('2000001');
    expect((await cancel(service, id)).status).toBe(204);
    const later = await replica(['4829150'], { CODE_LENGTH: '7' });
    expect((await later.code()).code).toBe('4829150');
    await Promise.all([six.stop(), seven.stop(), later.stop()]);
  });

  test('of a code that a previous version has issued are refused', async () => {
    const old = await startHarness();
    await insertAsBefore(old, '550055');
    const drawn = ['550056', '55055', '5500550', '505055', '111999'];
    const next = await startHarness({}, { databaseUrl: old.databaseUrl, random: dealing(...drawn) });
    expect((await next.code()).code).toBe('111999');
    await next.stop();
    await old.stop();
  });

  test('of a code that was active before the migration are refused', async () => {
    const database = await createTestDatabase();
    const source = await createDataSource(database.url, schema, {}).initialize();
    const migrated = async () =>
      (await source.query(`select to_regclass('code_neighbours') is not null as yes`))[0].yes;
    while (await migrated()) await source.undoLastMigration();
    await insertAsBefore({ sql: { query: source.query.bind(source) } } as never, '362821');
    await source.destroy();
    await migrate(database.url, schema);
    const fresh = await startHarness({}, { databaseUrl: database.url, random: dealing('362822', '32821', '900001') });
    expect((await fresh.code()).code).toBe('900001');
    await fresh.stop();
    await database.drop();
  });

  test('are found by the previous version among the codes of this one', async () => {
    const six = await replica(['271828']);
    const { id } = await six.code();
    const twins = codesWithinOneEdit('271829');
    const { rows } = await service.sql.query(
      `select c.id from unnest($1::bytea[], $2::smallint[]) as twin (hash, length)
       join pairing_codes c using (length, hash) where c.status = 'active' and c.expires_at > now()`,
      [twins.map((twin) => hashCode(KEY, twin)), twins.map(({ length }) => length)],
    );
    expect(rows).toEqual([{ id }]);
    await six.stop();
  });

  test('nobody issues a code while a replica of any version does', async () => {
    const other = await service.sql.connect();
    await other.query('begin');
    await other.query('select pg_advisory_xact_lock(7305002)');
    const waiting = service.code();
    const WAITS = `select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`;
    await untilSo(async () => (await service.sql.query(WAITS)).rowCount === 1);
    await other.query('commit');
    other.release();
    expect((await waiting).status).toBe('active');
  });
});

describe('values that are kept back', () => {
  test.each(['cancelled', 'expired', 'used'])(
    'no value is issued again within 24 hours when it is %s',
    async (status) => {
      const first = await startHarness({}, { random: dealing('362821') });
      const { id } = await first.code();
      const issuedAgo = (ago: string) =>
        first.sql.query(
          `update pairing_codes set status = $2, ended_at = now(), created_at = now() - $3::interval where id = $1`,
          [id, status, ago],
        );
      await issuedAgo('23 hours 59 minutes');
      const again = dealing('362821', '900001', '362821');
      const other = await startHarness({}, { databaseUrl: first.databaseUrl, random: again });
      expect((await other.code()).code).toBe('900001');
      await issuedAgo('24 hours 1 minute');
      const later = await startHarness({}, { databaseUrl: first.databaseUrl, random: dealing('362821') });
      expect((await later.code()).code).toBe('362821');
      await Promise.all([other.stop(), later.stop(), first.stop()]);
    },
  );

  test.each([
    ['none', 0, '1 hour', [5, 5, 5, 5, 5, 6]],
    ['a fifth', 20_000, '23 hours', [5, 5, 5, 5, 6, 6]],
    ['95 %', 95_000, '1 hour', [6, 6, 6, 6, 6, 6]],
    ['a fifth, and longer', 20_000, '26 hours', [5, 5, 5, 5, 5, 6]],
  ])('take room: %s of all 100,000', async (_share, n, ago, lengths) => {
    const service = await startHarness({ CODE_LENGTH: '5' });
    await insertEnded(service, 5, n, ago);
    const issued: number[] = [];
    for (let i = 0; i < 6; i++) issued.push((await service.code()).code.length);
    expect(issued).toEqual(lengths);
    await service.stop();
  });

  test('active codes of the previous version take room', async () => {
    const service = await startHarness({ CODE_LENGTH: '5' });
    for (const code of ['10000', '23333', '45555', '67777']) await insertAsBefore(service, code);
    expect((await service.code()).code).toHaveLength(5);
    expect((await service.code()).code).toHaveLength(6);
    await service.stop();
  });

  test('a code that would be longer than the longest is not issued', async () => {
    const service = await startHarness({ CODE_LENGTH: '5' });
    const shape = `(requests jsonb, candidates jsonb, shortest int, longest int, odds int, ttl int, user_limit int)
      returns table (n int, outcome text, i int, length int, retry_after int, twins_needed boolean,
        created_at timestamptz, expires_at timestamptz, replaced_id uuid, replaced_status text)`;
    await service.sql.query(
      `alter function scsp_issue_codes_v3 rename to unbounded;
       create function scsp_issue_codes_v3 ${shape} language sql as 'select * from unbounded($1, $2, $3, $4 - 13, $5, $6, $7)'`,
    );
    const answers = await times(8, () => issue(service, randomUUID()));
    expect([count(answers, 201), count(answers, 503)]).toEqual([5, 3]);
    await service.stop();
  });
});

describe('the limit of a user', () => {
  let service: Harness;
  beforeAll(async () => {
    service = await startHarness();
  });
  afterAll(() => service.stop());

  const expectTooMany = (answer: Awaited<ReturnType<typeof issue>>) => {
    expect([answer.status, answer.body.type]).toEqual([429, '/problems/too-many-codes']);
    const seconds = Number(answer.headers.get('Retry-After'));
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(600);
    expect(answer.body.message).toContain(`${seconds} s`);
    return seconds;
  };

  test('is ten codes in ten minutes, cancelled ones included, and another user has their own', async () => {
    const user = randomUUID();
    for (let i = 0; i < 10; i++) expect((await issue(service, user, 'home')).status).toBe(201);
    expect(expectTooMany(await issue(service, user))).toBeGreaterThan(590);
    expect((await issue(service, randomUUID())).status).toBe(201);
    const active = `select count(*)::int as n from pairing_codes where user_id = $1 and status = 'active'`;
    expect((await service.sql.query(active, [user])).rows).toEqual([{ n: 1 }]);
  });

  test('lets the next one through when the oldest is ten minutes old', async () => {
    const user = randomUUID();
    for (let i = 0; i < 10; i++) await issue(service, user);
    const { rows } = await service.sql.query(
      `update user_code_issues set issued_at = issued_at - interval '9 minutes' where user_hash = (
         select user_hash from user_code_issues order by issued_at desc limit 1) returning id`,
    );
    expect(rows).toHaveLength(10);
    expect(expectTooMany(await issue(service, user))).toBeLessThanOrEqual(60);
    await service.sql.query(
      `update user_code_issues set issued_at = now() - interval '10 minutes' where id = (
         select id from user_code_issues where id = any($1) order by issued_at limit 1)`,
      [rows.map(({ id }) => id)],
    );
    expect((await issue(service, user)).status).toBe(201);
    expectTooMany(await issue(service, user));
  });

  test('holds for requests of two replicas at the same time', async () => {
    const replica = await startHarness({}, { databaseUrl: service.databaseUrl });
    const user = randomUUID();
    const answers = await times(40, (i) => issue(i % 2 === 0 ? service : replica, user));
    expect([count(answers, 201), count(answers, 429)]).toEqual([10, 30]);
    await replica.stop();
  });

  test('outlives the forgetting of the user, and a rotation of the key', async () => {
    const user = randomUUID();
    for (let i = 0; i < 10; i++) await issue(service, user);
    const forgotten = await service.request('DELETE', `/v1/app/users/${user}`, { token: service.appToken });
    expect(forgotten.status).toBe(204);
    expectTooMany(await issue(service, user));
    const rotated = await startHarness(
      { SECRET_KEY: 'another key, which also has 32 characters or more', SECRET_KEY_PREVIOUS: SECRET_KEY },
      { databaseUrl: service.databaseUrl },
    );
    expectTooMany(await issue(rotated, user));
    await rotated.stop();
    const { rows } = await service.sql.query('select user_code_issues::text as row from user_code_issues');
    expect(rows.filter(({ row }) => row.includes(user))).toEqual([]);
  });

  test('is LIMIT_USER_CODES_10MIN', async () => {
    const strict = await startHarness({ LIMIT_USER_CODES_10MIN: '2' }, { databaseUrl: service.databaseUrl });
    const answers = await times(3, () => issue(strict, 'the same'));
    expect([count(answers, 201), count(answers, 429)]).toEqual([2, 1]);
    await strict.stop();
  });

  test('is not reached by requests for a CPO that does not exist', async () => {
    const user = randomUUID();
    const wrong = () =>
      service.request('POST', '/v1/app/pairing-codes', {
        token: service.appToken,
        body: { user_id: user, charging_location_id: 'home', cpo_id: randomUUID() },
      });
    const answers = await times(20, (i) => (i < 12 ? wrong() : issue(service, user)));
    expect([count(answers, 400), count(answers, 201)]).toEqual([12, 8]);
  });
});

describe('the old code of a user and location', () => {
  let service: Harness;
  beforeAll(async () => {
    service = await startHarness({}, { expiry: { everyMs: 1e9 } });
  });
  afterAll(() => service.stop());

  const eventsOf = async (id: string) =>
    (await service.sql.query('select type from events where code_id = $1', [id])).rows.map(({ type }) => type).sort();
  const statusOf = async (id: string) =>
    (await service.sql.query('select status from pairing_codes where id = $1', [id])).rows[0].status;

  test('is cancelled, with an event', async () => {
    const user_id = randomUUID();
    const old = await service.code({ user_id });
    await service.code({ user_id });
    expect([await statusOf(old.id), await eventsOf(old.id)]).toEqual(['cancelled', ['pairing_code.cancelled']]);
  });

  test('expires instead when its time is over and nobody has noted it', async () => {
    const user_id = randomUUID();
    const old = await service.code({ user_id });
    await service.sql.query('update pairing_codes set expires_at = now() where id = $1', [old.id]);
    await service.code({ user_id });
    expect([await statusOf(old.id), await eventsOf(old.id)]).toEqual(['expired', ['pairing_code.expired']]);
  });

  test.each(['used', 'active'])('is waited for while somebody holds it, and is then %s', async (status) => {
    const user_id = randomUUID();
    const old = await service.code({ user_id });
    const other = await service.sql.connect();
    await other.query('begin');
    await other.query('select from pairing_codes where id = $1 for update', [old.id]);
    let answered = false;
    const issuing = service.code({ user_id }).finally(() => {
      answered = true;
    });
    // Others are served meanwhile: whoever holds a code holds up nobody else.
    for (let i = 0; i < 3; i++) await service.code();
    expect(answered).toBe(false);
    await other.query('update pairing_codes set status = $2 where id = $1', [old.id, status]);
    await other.query('commit');
    other.release();
    expect((await issuing).status).toBe('active');
    expect(await statusOf(old.id)).toBe(status === 'used' ? 'used' : 'cancelled');
  });
});

describe('the function', () => {
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

  /** Calls it with one value a request, each for a user of its own. */
  async function call(codes: readonly string[], { client = sql, shortest = 6 } = {}) {
    const requests = codes.map((_, n) => ({
      n,
      id: randomUUID(),
      user_id: randomUUID(),
      charging_location_id: 'home',
      user_hashes: [asBytea(Buffer.from(randomUUID()))],
      issued_event: randomUUID(),
      replaced_event: randomUUID(),
    }));
    const values = codes.map((code, i) => ({
      i,
      n: i,
      length: code.length,
      hashes: [asBytea(hashCode(KEY, code))],
      keys: neighbourKeys(KEY, code),
      former_keys: [],
    }));
    const { rows } = await client.query(
      'select * from scsp_issue_codes_v3($1, $2, $3, 18, 20000, 600, 10) order by n',
      [JSON.stringify(requests), JSON.stringify(values), shortest],
    );
    return rows.map(({ outcome }) => outcome);
  }

  test('issues a set at once, and of values within one edit of each other the first', async () => {
    expect(await call(['362821', '400004', '362822', '36282', '400004'])).toEqual([
      'issued',
      'issued',
      'retry',
      'retry',
      'retry',
    ]);
  });

  test('under a stricter isolation, is rolled back when others have issued codes since its snapshot', async () => {
    const waiting = new Client(database.url);
    await waiting.connect();
    for (const client of [sql, waiting])
      await client.query(`set session characteristics as transaction isolation level repeatable read`);
    expect(await call(['900001'])).toEqual(['issued']);
    await sql.query('begin');
    await sql.query('select pg_advisory_xact_lock(7305002)');
    const second = call(['4829150'], { client: waiting, shortest: 7 });
    await untilSo(
      async () =>
        (
          await sql.query(`select from pg_locks where locktype = 'advisory' and not granted and database = (
          select oid from pg_database where datname = current_database())`)
        ).rowCount === 1,
    );
    expect(await call(['482915'])).toEqual(['issued']);
    await sql.query('commit');
    await expect(second).rejects.toMatchObject({ code: '40001' });
    await waiting.end();
  });

  test('counts what a role inserts that has no right to the counts, as during a roll-out', async () => {
    await sql.query('begin');
    await sql.query('create role scsp_previous_version');
    await sql.query('grant insert on pairing_codes to scsp_previous_version');
    await sql.query('set local role scsp_previous_version');
    await insertAsBefore({ sql: sql as never }, '362821');
    await sql.query('reset role');
    const { rows } = await sql.query('select length, active from active_code_counts');
    await sql.query('rollback');
    expect(rows).toEqual([{ length: 6, active: 1 }]);
  });

  test.each(['new tables', 'ended codes', 'active codes'])(
    'reads no table from end to end, and few rows, by plans that were made for %s',
    async (state) => {
      for (const table of ['pairing_codes', 'code_neighbours', 'user_code_issues'])
        await sql.query(`alter table ${table} set (autovacuum_enabled = off)`);
      if (state !== 'new tables') {
        await fill(state === 'active codes' ? 5_000 : 0);
        await sql.query('vacuum analyze');
      }
      expect(await call(['123456'])).toEqual(['issued']);
      if (state !== 'active codes') await fill(5_000);
      await sql.query('begin');
      expect(await call(['777777', '313131', '864200'])).toEqual(Array(3).fill('issued'));
      const { rows } = await sql.query(
        `select relname, seq_tup_read::int as read, idx_tup_fetch::int as fetched from pg_stat_xact_user_tables
         where relname in ('pairing_codes', 'code_neighbours', 'user_code_issues', 'cpos')`,
      );
      await sql.query('commit');
      for (const { relname, read, fetched } of rows) expect([relname, read, fetched < 200]).toEqual([relname, 0, true]);
    },
  );

  /** Codes that have ended, so many active ones, and as many neighbour keys and counted issues. */
  async function fill(active: number): Promise<void> {
    await sql.query(
      `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, expires_at, ended_at)
       select gen_random_uuid(), sha256(i::text::bytea), 12, gen_random_uuid(), 'home', case when i <= $1 then 'active' else 'used' end,
         now() + interval '10 minutes', case when i > $1 then now() end
       from generate_series(1, 20000) i`,
      [active],
    );
    await sql.query('delete from code_neighbours_missing');
    await sql.query(
      `insert into code_neighbours select i * 7919, gen_random_uuid(), now() + interval '10 minutes' from generate_series(1, $1) i`,
      [active],
    );
    await sql.query(
      `insert into user_code_issues (user_hash, id)
       select sha256(gen_random_uuid()::text::bytea), gen_random_uuid() from generate_series(1, $1) i`,
      [active],
    );
  }
});
