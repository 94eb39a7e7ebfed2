import { createHash, randomUUID } from 'node:crypto';
import { deriveKeys, hashSubject } from '../../src/crypto/keys';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import {
  aStation,
  createTestDatabase,
  type Harness,
  NO_LIMITS,
  SECRET_KEY,
  startHarness,
  type TestCpo,
} from '../harness/harness';
import { openRaw } from '../harness/raw-http';
import { until, untilSo, untilStatus } from '../harness/until';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const LONG_MS = 120_000;
const hashOf = (user: string) => hashSubject(deriveKeys(SECRET_KEY), 'user', user).toString('hex');
const forgetOnce = (user: string, by = service) =>
  by.request('DELETE', `/v1/app/users/${encodeURIComponent(user)}`, { token: by.appToken });
/** As the app does: a 503 means that the request is to be sent again, which a busy machine may answer. */
const forget = (user: string, by = service) => untilStatus(204, () => forgetOnce(user, by), LONG_MS);
const attemptsOf = async (by: TestCpo, at = service): Promise<any[]> =>
  (await at.request('GET', '/v1/scsp/attempts?limit=100', { token: by.token })).body.items;
const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;

/** A user with a station that is paired with the given CPO. */
async function paired(by: TestCpo = cpo, user_id: string = randomUUID()) {
  const uid = `Secret-${randomUUID()}`;
  const { id, code } = await service.code({ user_id, charging_location_id: randomUUID() });
  expect((await service.pair(by, code, aStation(uid))).status).toBe(200);
  return { user_id, uid, code_id: id, code };
}

/** So many attempts of a CPO with a uid, as old replicas and other CPOs have stored them. */
const insertAttempts = (by: TestCpo, uid: string, count: number) =>
  sql(
    `insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome, detail)
     select gen_random_uuid(), $1, 'many', 'ocpp2.0.1', $2, 'station-already-paired', $2 from generate_series(1, $3)`,
    [by.id, uid, count],
  );

/** Everything in the database that has the text in it, by table. */
async function tracesOf(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const { table } of await sql(`select format('%I.%I', schemaname, tablename) as table from pg_tables
      where schemaname in ('public', 'graphile_worker')`))
    for (const { row } of await sql(`select t::text as row from ${table} t where t::text ilike $1`, [`%${text}%`]))
      found.push(`${table}: ${row}`);
  return found;
}

describe('however much is stored', () => {
  test('everything is erased, each statement doing a bounded part of it', async () => {
    const { user_id, uid } = await paired();
    const [other, third] = [await service.cpo(), await service.cpo()];
    await insertAttempts(other, uid.toUpperCase(), 20_000);
    await insertAttempts(third, uid.toLowerCase(), 10_000);
    // Forty pairings of the past, of a station of 100 EVSEs with 20 connectors each.
    await sql(
      `with old as (
         insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, ended_at, ended_by)
         select gen_random_uuid(), $1, lower($2), $3, 'home', now(), 'cpo' from generate_series(1, 40) returning id
       ), station as (
         insert into stations (pairing_id, uid, payload_protocol) select id, $2, 'ocpp2.0.1' from old
       ), evse as (
         insert into evses (pairing_id, position, evse_id) select id, e, e from old, generate_series(1, 100) e
       )
       insert into connectors (pairing_id, evse_position, position, connector_id, power_type, max_voltage, max_amperage)
       select id, e, c, c, 'AC_3_PHASE', 230, 16 from old, generate_series(1, 100) e, generate_series(1, 20) c`,
      [cpo.id, uid, user_id],
    );
    await sql(`create table statements (relation text, touched int)`);
    await sql(`create function count_rows() returns trigger security definer language plpgsql as $$
      begin insert into statements select tg_table_name, count(*) from old_rows; return null; end $$`);
    await sql(`create trigger counted after update on attempts referencing old table as old_rows
      for each statement execute function count_rows()`);
    await sql(`create trigger counted after delete on stations referencing old table as old_rows
      for each statement execute function count_rows()`);

    expect((await forget(user_id)).status).toBe(204);

    for (const by of [cpo, other, third])
      for (const attempt of await attemptsOf(by)) expect([attempt.uid, attempt.detail]).toEqual([undefined, undefined]);
    expect(
      await until(
        (left) => left.length === 0,
        () => sql('select * from erasures'),
        LONG_MS,
      ),
    ).toEqual([]);
    expect(await tracesOf(uid)).toEqual([]);
    expect(await tracesOf(user_id)).toEqual([]);
    expect(
      await sql(`select relation, sum(touched)::int as touched, max(touched) <= case relation when 'stations' then 5
      else 1000 end as bounded from statements group by relation order by relation`),
    ).toEqual([
      { relation: 'attempts', touched: 30_001, bounded: true },
      { relation: 'stations', touched: 41, bounded: true },
    ]);
    // Each row was read a few times, and not once for each batch.
    const [{ read }] = await sql(`select idx_tup_read::int as read from pg_stat_user_indexes
      where indexrelname = 'attempts_uid_key_idx'`);
    expect(read).toBeLessThan(5 * 30_000);
    await sql('drop trigger counted on attempts');
    await sql('drop trigger counted on stations');
  }, 240_000);

  test('1,200 codes and 250 pairings of one user are forgotten', async () => {
    const user_id = randomUUID();
    await sql(
      `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, expires_at, ended_at)
       select gen_random_uuid(), sha256(i::text::bytea), 6, $1, i, 'expired', now(), now() from generate_series(1, 1200) i`,
      [user_id],
    );
    await sql(
      `insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
       select gen_random_uuid(), $2, $1 || '-' || i, $1, 'home' from generate_series(1, 250) i`,
      [user_id, cpo.id],
    );
    expect((await forget(user_id)).status).toBe(204);
    expect(
      await until(
        (left) => left.length === 0,
        () => tracesOf(user_id),
        LONG_MS,
      ),
    ).toEqual([]);
    expect((await service.log.waitFor((line) => line.user_hash === hashOf(user_id))).count).toBe(250);
  });

  test('what a crash leaves behind is not seen, and erased by the next start', async () => {
    const { user_id, uid } = await paired();
    const [other, refused] = [await service.cpo(), await service.cpo()];
    await insertAttempts(other, uid, 3);
    await insertAttempts(refused, 'seen', 1);
    // Whoever erases the attempts waits for this lock until the statement is given up, as a dying process would.
    const holder = await service.sql.connect();
    await holder.query('begin');
    await holder.query('select from attempts where cpo_id = $1 for update', [other.id]);
    expect((await forget(user_id)).status).toBe(204);
    expect((await attemptsOf(other)).map((attempt) => [attempt.uid, attempt.detail])).toEqual(
      Array(3).fill([undefined, undefined]),
    );
    expect((await attemptsOf(refused)).map((attempt) => [attempt.uid, attempt.detail])).toEqual([['seen', 'seen']]);
    expect(await sql('select count(*)::int as n from erasures where station_uid = lower($1)', [uid])).toEqual([
      { n: 1 },
    ]);
    await holder.query('rollback');
    holder.release();
    const next = await startHarness({ SANDBOX: 'true' }, { databaseUrl: service.databaseUrl });
    expect(
      await until(
        (left) => left.length === 0,
        () => tracesOf(uid),
        LONG_MS,
      ),
    ).toEqual([]);
    await next.stop();
  });

  test('after the deadline the app is asked to retry, and each time less is left', async () => {
    const user_id = randomUUID();
    await sql(
      `insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
       select gen_random_uuid(), $2, $1 || '-' || i, $1, 'home' from generate_series(1, 250) i`,
      [user_id, cpo.id],
    );
    await sql(
      `create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(1.6); return null; end $$`,
    );
    await sql('create trigger slow after insert on erasures for each statement execute function slowly()');
    expect((await forgetOnce(user_id)).status).toBe(503);
    expect(await sql('select count(*)::int as n from pairings where user_id = $1', [user_id])).toEqual([{ n: 50 }]);
    await sql('drop trigger slow on erasures');
    expect((await forget(user_id)).status).toBe(204);
    expect(
      await sql(`select count(*)::int as n from audit where detail ->> 'user_hash' = $1`, [hashOf(user_id)]),
    ).toEqual([{ n: 2 }]);
  });
});

describe('what is under way', () => {
  // Passes once the statement of POST /v1/app/pairings asks `redemption_attempts` for its permission.
  test('a redemption under way does not bring the user back', async () => {
    const user_id = randomUUID();
    const uid = `S-${randomUUID()}`;
    const backend = await startCpo(service, () => {});
    const answering = new Promise<() => void>((resolve) => {
      backend.answer = (res, request) => resolve(() => answerStation(uid)(res, request));
    });
    const redeeming = service.redeem(backend, '1', { user_id });
    const answer = await answering;
    expect((await forget(user_id)).status).toBe(204);
    backend.answer = (res) => sendJson(res, 200, {});
    answer();
    expect((await redeeming).status).toBeGreaterThanOrEqual(400);
    expect((await service.request('GET', `/v1/app/charging-stations/${uid}`, { token: service.appToken })).status).toBe(
      404,
    );
    expect(await sql('select id from pairings where user_id = $1', [user_id])).toEqual([]);
    await backend.down();
  });

  test('every redemption under way loses its permission, and those that have ended stay as they are', async () => {
    const user_id = randomUUID();
    const previous = hashSubject(deriveKeys('the key before'), 'user', user_id);
    const insert = (hash: Buffer, outcome: string | null) =>
      sql('insert into redemption_attempts (id, user_hash, outcome) values (gen_random_uuid(), $1, $2)', [
        hash,
        outcome,
      ]);
    const current = Buffer.from(hashOf(user_id), 'hex');
    await insert(current, null);
    await insert(current, 'incorrect-code');
    await insert(previous, null);
    await insert(Buffer.from(hashOf('somebody else'), 'hex'), null);
    const rotated = await startHarness(
      { SANDBOX: 'true', SECRET_KEY_PREVIOUS: 'the key before' },
      { databaseUrl: service.databaseUrl },
    );
    expect((await forget(user_id, rotated)).status).toBe(204);
    await rotated.stop();
    const hashes = [current, previous, Buffer.from(hashOf('somebody else'), 'hex')];
    expect(
      await sql('select user_hash, outcome from redemption_attempts where user_hash = any($1) order by began_at', [
        hashes,
      ]),
    ).toEqual([
      { user_hash: current, outcome: 'forgotten' },
      { user_hash: current, outcome: 'incorrect-code' },
      { user_hash: previous, outcome: 'forgotten' },
      { user_hash: Buffer.from(hashOf('somebody else'), 'hex'), outcome: null },
    ]);
  });

  test('a pairing under way with a code of theirs is waited for and forgotten', async () => {
    const user_id = randomUUID();
    const { code } = await service.code({ user_id });
    const uid = `S-${randomUUID()}`;
    await sql(
      `create or replace function hesitate() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$`,
    );
    await sql('create trigger hesitation after insert on stations for each statement execute function hesitate()');
    const pairing = service.pair(cpo, code, aStation(uid));
    await until(
      (found) => found.length > 0,
      () => sql(`select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`),
      LONG_MS,
    );
    expect((await forget(user_id)).status).toBe(204);
    expect((await pairing).status).toBe(200);
    await sql('drop trigger hesitation on stations');
    expect(await tracesOf(user_id)).toEqual([]);
    expect(await tracesOf(uid)).toEqual([]);
  });

  test.each([
    ['used', 'used'],
    ['expired', 'expired'],
    ['active', 'cancelled'],
  ])('a code that becomes %s while the erasure waits for it ends once', async (status, ended) => {
    const user_id = randomUUID();
    const { id } = await service.code({ user_id });
    const holder = await service.sql.connect();
    await holder.query('begin');
    await holder.query(
      `update pairing_codes set status = $2, ended_at = case when $2 <> 'active' then now() end where id = $1`,
      [id, status],
    );
    const forgetting = forget(user_id);
    await untilSo(
      async () =>
        (await sql(`select from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'`))
          .length > 0,
    );
    await holder.query('commit');
    holder.release();
    expect((await forgetting).status).toBe(204);
    expect(await sql('select status from pairing_codes where id = $1', [id])).toEqual([{ status: ended }]);
    const events = await sql('select type from events where code_id = $1', [id]);
    expect(events).toEqual(status === 'active' ? [{ type: 'pairing_code.cancelled' }] : []);
  });

  test('polls of their codes are answered 404 at once', async () => {
    const user_id = randomUUID();
    const codes = [await service.code({ user_id }), await service.code({ user_id, charging_location_id: 'work' })];
    const replica = await startHarness({ SANDBOX: 'true' }, { databaseUrl: service.databaseUrl });
    const began = performance.now();
    const polls = codes.map(({ id }) => replica.followCode(id, 30));
    await until(
      (asleep) => asleep,
      async () => replica.log.lines.some(({ message }) => message === 'listening'),
    );
    expect((await forget(user_id)).status).toBe(204);
    for (const poll of polls) expect((await poll).status).toBe(404);
    expect(performance.now() - began).toBeLessThan(15_000);
    await replica.stop();
  });
});

describe('proof', () => {
  test('an audit entry and a log line name the user by a keyed hash alone', async () => {
    const { user_id, uid } = await paired();
    await paired(cpo, user_id);
    await service.code({ user_id });
    expect((await forget(user_id)).status).toBe(204);
    const user_hash = hashOf(user_id);
    expect(user_hash).not.toBe(createHash('sha256').update(user_id).digest('hex'));
    const [{ id }] = await sql('select id from tokens where app_name is not null order by id limit 1');
    expect(
      await sql(
        `select actor, action, subject_id, detail from audit where action = 'user.forget'
      and detail ->> 'user_hash' = $1`,
        [user_hash],
      ),
    ).toEqual([
      {
        actor: `app token ${id}`,
        action: 'user.forget',
        subject_id: expect.stringMatching(new RegExp(`^${user_hash.slice(0, 8)}-`)),
        detail: { user_hash },
      },
    ]);
    const line = await service.log.waitFor((one) => one.user_hash === user_hash);
    expect(line).toMatchObject({ level: 'info', message: 'user forgotten', count: 2 });
    const lines = service.log.lines.map((one) => JSON.stringify(one)).filter((one) => one.includes(user_hash));
    for (const one of lines) expect(one).not.toMatch(new RegExp(`${user_id}|${uid}`, 'i'));
  });

  test('where nothing is stored there is nothing to prove', async () => {
    expect((await forget('never seen')).status).toBe(204);
    expect(await sql(`select from audit where detail ->> 'user_hash' = $1`, [hashOf('never seen')])).toEqual([]);
  });
});

describe('what stays and what does not', () => {
  test('a replay of an Idempotency-Key is 404 once the user is forgotten', async () => {
    const user_id = randomUUID();
    const body = { code: (await service.code({ user_id })).code, charging_station: aStation() };
    const send = () =>
      service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
        token: cpo.token,
        body,
        headers: { 'Idempotency-Key': user_id },
      });
    const first = await send();
    expect(first.status).toBe(200);
    await service.unpairAsCpo(cpo, body.charging_station.uid);
    expect((await send()).body).toEqual(first.body);
    expect((await forget(user_id)).status).toBe(204);
    const replayed = await send();
    expect([replayed.status, replayed.body.type, replayed.headers.get('Idempotent-Replayed')]).toEqual([
      404,
      '/problems/incorrect-code',
      'true',
    ]);
  });

  test('a notification that was given up is erased, one that is being tried keeps its uid until it is delivered', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    const user_id = randomUUID();
    const [lost, trying] = [await paired(backend, user_id), await paired(backend, user_id)];
    for (const { uid } of [lost, trying]) expect((await service.unpairAsApp(uid)).status).toBe(200);
    // Between two attempts: one that is under way would write when the next is due.
    const giveUp = `update outbox set gave_up_at = now()
      where uid = $1 and attempts > 0 and leased_until is null returning id`;
    await untilSo(async () => (await sql(giveUp, [lost.uid])).length > 0);
    expect((await forget(user_id)).status).toBe(204);
    expect(
      await until(
        (left) => left.length === 0,
        () => tracesOf(lost.uid),
        LONG_MS,
      ),
    ).toEqual([]);
    expect(await sql('select uid from outbox where cpo_id = $1 and uid is not null', [backend.id])).toEqual([
      { uid: trying.uid },
    ]);
    backend.answer = (res) => sendJson(res, 200, {});
    await service.log.waitFor((line) => line.cpo_id === backend.id && line.outcome === 'delivered');
    expect(
      await until(
        (left) => left.length === 0,
        () => tracesOf(trying.uid),
        LONG_MS,
      ),
    ).toEqual([]);
    await backend.down();
  });

  test("a user's limit is not reset", async () => {
    const hash = Buffer.from(hashOf('limited'), 'hex');
    await sql(
      `insert into redemption_attempts (id, user_hash, outcome) select gen_random_uuid(), $1, 'incorrect-code'
      from generate_series(1, 5)`,
      [hash],
    );
    expect((await forget('limited')).status).toBe(204);
    expect(await sql('select count(*)::int as n from redemption_attempts where user_hash = $1', [hash])).toEqual([
      { n: 5 },
    ]);
  });

  test.each(['.', '..', '%2E', '%2E%2E'])('DELETE /v1/app/users/%s erases nobody else', async (segment) => {
    const { uid } = await paired();
    const raw = await openRaw(service.url);
    raw.socket.write(
      `DELETE /v1/app/users/${segment} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${service.appToken}\r\nConnection: close\r\n\r\n`,
    );
    const [answer] = await raw.closed();
    expect([204, 400, 404, 405]).toContain(answer?.status);
    expect((await service.request('GET', `/v1/app/charging-stations/${uid}`, { token: service.appToken })).status).toBe(
      200,
    );
  });
});

test('in a database with a Turkish locale a station is paired, listed, unpaired and forgotten', async () => {
  const database = await createTestDatabase(
    "template0 encoding utf8 locale_provider icu icu_locale 'tr-TR' locale 'C'",
  );
  const turkish = await startHarness({ SANDBOX: 'true' }, { databaseUrl: database.url });
  expect((await turkish.sql.query(`select lower('I') as i`)).rows).toEqual([{ i: '\u0131' }]);
  const backend = await startCpo(turkish, (res) => sendJson(res, 200, {}));
  const names = ['I', 'i', '\u0130', '\u0131', 'IZMIR', 'izmir', 'H', 'j', '\u00e7', 'c', 'd'];
  for (const name of names)
    await turkish.sql.query('insert into cpos (id, name, base_url) values (gen_random_uuid(), $1, $2)', [
      name,
      'https://cpo.example',
    ]);
  const user_id = 'INI';
  const uid = 'WALLBOX-INI-1';
  const pair = async () => {
    const { code } = await turkish.code({ user_id });
    return (await turkish.pair(backend, code, aStation(uid))).status;
  };
  const app = (method: string, path: string) => turkish.request(method, path, { token: turkish.appToken });

  for (const spelling of [uid, 'wallbox-ini-1', 'Wallbox-Ini-1'])
    expect((await turkish.pair(backend, '00000000', aStation(spelling))).status).toBe(404);
  expect(await pair()).toBe(200);
  expect((await app('GET', '/v1/app/charging-stations/wallbox-ini-1')).body.uid).toBe(uid);
  expect((await app('GET', `/v1/app/charging-stations?user_id=${user_id}`)).body.items).toHaveLength(1);
  expect((await turkish.unpairAsCpo(backend, 'WALLBOX-ini-1')).status).toBe(200);
  expect(await pair()).toBe(200);
  expect((await turkish.unpairAsApp('wallbox-INI-1')).status).toBe(200);
  await backend.asked(1);
  expect(await pair()).toBe(200);

  const listed: string[] = [];
  for (let cursor = ''; ; ) {
    const { body } = await app('GET', `/v1/app/cpos?limit=2${cursor}`);
    listed.push(...body.items.map(({ name }: { name: string }) => name));
    if (body.next_cursor === null) break;
    cursor = `&cursor=${body.next_cursor}`;
  }
  expect(listed.sort()).toEqual([...names, backend.name].sort());

  expect((await forget(user_id, turkish)).status).toBe(204);
  const attempts = await attemptsOf(backend, turkish);
  expect(attempts).toHaveLength(6);
  for (const attempt of attempts) expect(attempt.uid).toBeUndefined();
  expect((await turkish.sql.query('select uid from attempts where uid is not null')).rows).toEqual([]);
  await backend.down();
  await turkish.stop();
  await database.drop();
});
