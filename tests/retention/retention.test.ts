import { randomUUID } from 'node:crypto';
import { type Pause, runRetention } from '../../src/retention/retention';
import { startApp } from '../harness/an-app';
import { type Harness, recordedLog, startHarness } from '../harness/harness';

let service: Harness;
let cpoId: string;
beforeAll(async () => {
  service = await startHarness({ ATTEMPTS_KEEP_DAYS: '10', EVENTS_KEEP_DAYS: '7' });
  cpoId = (await service.cpo()).id;
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;
const keep = (stopping = new AbortController().signal, { log } = recordedLog(), pause?: Pause) =>
  runRetention({ config: service.config, db: service.db, log, stopping }, pause);

/** A UUIDv7 of the time `$2` ago. */
const ID = `(lpad(to_hex((extract(epoch from now() - $2::interval) * 1000)::bigint), 12, '0')
  || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid`;

/** So many attempts of so long ago; returns the `request_id` that they share. */
async function attempts(ago: string, count = 1): Promise<string> {
  const name = randomUUID();
  await sql(
    `insert into attempts (id, cpo_id, attempted_at, request_id, payload_protocol, outcome)
     select ${ID}, $1, now() - $2::interval, $3, 'ocpp2.0.1', 'incorrect-code' from generate_series(1, $4)`,
    [cpoId, ago, name, count],
  );
  return name;
}
const left = async (name: string) => (await sql('select from attempts where request_id = $1', [name])).length;

describe('retention', () => {
  test('removes attempts that are older than ATTEMPTS_KEEP_DAYS, in as many batches as it takes', async () => {
    const [old, young] = [await attempts('10 days 1 minute', 2_500), await attempts('9 days 23 hours', 3)];
    const log = recordedLog();
    await keep(undefined, log);
    expect([await left(old), await left(young)]).toEqual([0, 3]);
    expect(await log.waitFor(({ message }) => message === 'old attempts removed')).toMatchObject({
      level: 'info',
      count: 2_500,
    });
  });

  test('removes calls to CPOs that are older than 7 days, in as many batches as it takes', async () => {
    const call = (ago: string, count: number, id: string) =>
      sql(
        `insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, duration_ms, outcome)
         select ($4 || lpad(to_hex(i), 12, '0'))::uuid, $1, now() - $2::interval, 'pair', 'ocpp2.0.1', $2, 1, 'answered'
         from generate_series(1, $3) i`,
        [cpoId, ago, count, id],
      );
    await call('7 days 1 minute', 2_500, '00000000-0000-7000-8000-');
    await call('6 days', 3, 'f0000000-0000-7000-8000-');
    const log = recordedLog();
    await keep(undefined, log);
    expect(await sql('select request_id, count(*)::int from calls group by 1')).toEqual([
      { request_id: '6 days', count: 3 },
    ]);
    expect(await log.waitFor(({ message }) => message === 'old calls removed')).toMatchObject({ count: 2_500 });
  });

  test('keeps the latest 100 attempts of a CPO and uid, in any spelling', async () => {
    const [offender, neighbour] = [await service.cpo(), await service.cpo()];
    const send = (by: string, uid: string, count: number, outcome = 'station-already-paired') =>
      sql(
        `insert into attempts (id, cpo_id, attempted_at, request_id, payload_protocol, uid, outcome)
         select ($2 || lpad(to_hex(i), 12, '0'))::uuid, $1, now(), i, 'ocpp2.0.1',
           case when i % 2 = 0 then upper($3 collate "C") else $3 end, $5 from generate_series(1, $4) i`,
        [by, randomUUID().slice(0, 24), uid, count, outcome],
      );
    await send(offender.id, 'wallbox-i', 2_600);
    await send(offender.id, 'quiet', 3);
    await send(neighbour.id, 'wallbox-i', 90);
    await send(neighbour.id, 'lucky', 150, 'paired');
    await keep();
    expect(
      await sql(
        `select cpo_id, lower(uid collate "C") as uid, count(*)::int as n, min(request_id::int) as oldest
         from attempts where cpo_id = any($1) group by 1, 2 order by n`,
        [[offender.id, neighbour.id]],
      ),
    ).toEqual([
      { cpo_id: offender.id, uid: 'quiet', n: 3, oldest: 1 },
      { cpo_id: neighbour.id, uid: 'wallbox-i', n: 90, oldest: 1 },
      { cpo_id: offender.id, uid: 'wallbox-i', n: 100, oldest: 2_501 },
      { cpo_id: neighbour.id, uid: 'lucky', n: 150, oldest: 1 },
    ]);
  });

  test('pauses after each batch for four times as long as it took', async () => {
    await attempts('11 days', 2_500);
    await sql(`create function linger() returns trigger language plpgsql as $$
      begin perform pg_sleep(0.05); return null; end $$`);
    await sql('create trigger lingering after delete on attempts for each statement execute function linger()');
    const pauses: number[] = [];
    const began = performance.now();
    await keep(undefined, recordedLog(), async (ms) => void pauses.push(ms));
    const tookMs = performance.now() - began;
    await sql('drop trigger lingering on attempts');
    expect(pauses).toHaveLength(3);
    for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(4 * 50);
    expect(pauses.reduce((sum, pause) => sum + pause)).toBeLessThanOrEqual(4 * tookMs);
  });

  test('really pauses', async () => {
    await attempts('11 days', 2_500);
    await sql('create trigger lingering after delete on attempts for each statement execute function linger()');
    const began = performance.now();
    await keep();
    expect(performance.now() - began).toBeGreaterThanOrEqual(3 * (50 + 4 * 50));
    await sql('drop trigger lingering on attempts');
  });

  test('removes a notification that was given up as soon as its user is forgotten, and no other', async () => {
    const cpo = await service.cpo();
    const given = async (user: string | null, gaveUp: boolean) => {
      const id = randomUUID();
      await sql('insert into pairings (id, cpo_id, user_id, ended_at, station_uid) values ($1, $2, $3, now(), $3)', [
        id,
        cpo.id,
        user,
      ]);
      await sql(
        `insert into outbox (pairing_id, cpo_id, payload_protocol, uid, gave_up_at)
         values ($1, $2, 'ocpp1.6', 'a uid', case when $3 then now() end)`,
        [id, cpo.id, gaveUp],
      );
      return id;
    };
    const [trying, known] = [await given(null, false), await given('somebody', true)];
    await given(null, true);
    await keep();
    expect((await sql('select pairing_id from outbox')).map((row) => row.pairing_id).sort()).toEqual(
      [trying, known].sort(),
    );
    await sql('delete from outbox');
  });

  test('removes a deleted webhook endpoint with its deliveries and gaps, in batches, and no other', async () => {
    const app = await startApp(service);
    const make = async () => {
      const endpoint = await app.endpoint({ url: 'https://8.8.8.8/' });
      await sql(
        `insert into webhook_deliveries (endpoint_id, position, next_attempt_at)
         select $1, 1000000 + n, now() + interval '1 day' from generate_series(1, 2100) n`,
        [endpoint.id],
      );
      await sql('insert into webhook_gaps values ($1, 1000000, 2000000)', [endpoint.id]);
      return endpoint;
    };
    const [kept, deleted] = [await make(), await make()];
    await deleted.request('DELETE');
    await sql(`update webhook_endpoints set deleted_at = now() - interval '1 hour' where id = $1`, [deleted.id]);
    await keep(undefined, recordedLog(), async () => {});
    expect([await deleted.row(), await deleted.deliveries()]).toEqual([undefined, []]);
    expect([(await kept.row()).id, (await kept.deliveries()).length]).toEqual([kept.id, 2_100]);
    expect(await sql('select endpoint_id from webhook_gaps')).toEqual([{ endpoint_id: kept.id }]);
    await sql('update event_feed set deleted_position = 2000000');
    await keep(undefined, recordedLog(), async () => {});
    expect([await kept.deliveries(), await sql('select from webhook_gaps')]).toEqual([[], []]);
    await sql('update event_feed set deleted_position = 0');
  });

  test('removes webhook secrets that have expired', async () => {
    const endpoint = await (await startApp(service)).endpoint({ url: 'https://8.8.8.8/' });
    const { secret } = (await endpoint.request('POST', '/rotate-secret', { overlap_hours: 1 })).body;
    service.secrets.add(secret);
    const secrets = () => sql('select from webhook_secrets where endpoint_id = $1', [endpoint.id]);
    await keep();
    expect(await secrets()).toHaveLength(2);
    await sql(
      `update webhook_secrets set expires_at = now() - interval '1 second' where endpoint_id = $1 and expires_at is not null`,
      [endpoint.id],
    );
    await keep();
    expect(await secrets()).toHaveLength(1);
  });

  test('removes what was kept for an Idempotency-Key after 24 hours', async () => {
    const key = async (ago: string) => {
      const name = randomUUID();
      await sql(
        `insert into idempotency_keys (cpo_id, path, key, body_hash, created_at, lease_until, outcome, request_id)
         values ($1, '/', $2, '', now() - $3::interval, now(), 'paired', '')`,
        [cpoId, name, ago],
      );
      return name;
    };
    const [, young] = [await key('24 hours 1 minute'), await key('23 hours 59 minutes')];
    await keep();
    expect(await sql('select key from idempotency_keys')).toEqual([{ key: young }]);
  });

  test("removes users' attempts with CPOs' codes after a day", async () => {
    for (const [user, ago] of [
      ['old', '1 day 1 minute'],
      ['young', '23 hours'],
    ])
      await sql('insert into redemptions (id, user_id, tried_at) values ($1, $2, now() - $3::interval)', [
        randomUUID(),
        user,
        ago,
      ]);
    await keep();
    expect(await sql('select user_id from redemptions')).toEqual([{ user_id: 'young' }]);
  });

  test('removes attempts to redeem after a day', async () => {
    for (const [user, ago] of [
      ['old', '1 day 1 minute'],
      ['young', '23 hours'],
    ])
      await sql('insert into redemption_attempts (id, user_hash, began_at) values ($1, $2, now() - $3::interval)', [
        randomUUID(),
        Buffer.from(user ?? ''),
        ago,
      ]);
    await keep();
    expect(await sql(`select encode(user_hash, 'escape') as user from redemption_attempts`)).toEqual([
      { user: 'young' },
    ]);
  });

  test('removes codes that ended a week ago without pairing, and no others', async () => {
    const cpo = await service.cpo();
    // Issued before any of them has ended, since who issues a code marks those that have.
    const codes = await Promise.all(Array.from({ length: 7 }, () => service.code()));
    const end = async (status: string, ended: string | null, expires = ended) => {
      const { id } = codes.pop();
      await sql(
        'update pairing_codes set status = $2, ended_at = now() - $3::interval, expires_at = now() - $4::interval where id = $1',
        [id, status, ended, expires],
      );
      return id;
    };
    const used = await service.code();
    expect((await service.pair(cpo, used.code)).status).toBe(200);
    await sql(
      `update pairing_codes set expires_at = now() - interval '1 year', ended_at = now() - interval '1 year' where id = $1`,
      [used.id],
    );
    const gone = [
      await end('expired', '8 days 1 minute'),
      await end('cancelled', '8 days 1 minute'),
      await end('active', null, '8 days 1 minute'),
    ];
    const kept = [
      await end('expired', '7 days 23 hours'),
      await end('cancelled', '7 days 23 hours'),
      await end('active', null, '7 days 23 hours'),
      codes.pop().id,
      used.id,
    ];
    await keep();
    for (const id of gone) expect((await service.followCode(id)).status).toBe(404);
    for (const id of kept) expect((await service.followCode(id)).status).toBe(200);
    expect((await service.followCode(used.id)).body.pairing).toMatchObject({ cpo_id: cpo.id });
  });

  test('is left to another replica that is at it', async () => {
    const old = await attempts('11 days');
    const other = await service.sql.connect();
    await other.query('select pg_advisory_lock(7305005)');
    await keep();
    expect(await left(old)).toBe(1);
    await other.query('select pg_advisory_unlock(7305005)');
    other.release();
    await keep();
    expect(await left(old)).toBe(0);
  });

  test('passes over rows that somebody is using, and takes them the next time', async () => {
    const [used, free] = [await attempts('11 days'), await attempts('11 days')];
    const other = await service.sql.connect();
    await other.query('begin');
    await other.query('select from attempts where request_id = $1 for update', [used]);
    await keep();
    expect([await left(used), await left(free)]).toEqual([1, 0]);
    await other.query('rollback');
    other.release();
    await keep();
    expect(await left(used)).toBe(0);
  });

  test('ends with the service', async () => {
    const old = await attempts('11 days');
    await keep(AbortSignal.abort());
    expect(await left(old)).toBe(1);
  });
});

test('the service removes what is old by itself, again and again, and in spite of a failure', async () => {
  await attempts('11 days');
  const keeper = await startHarness(
    { ATTEMPTS_KEEP_DAYS: '10' },
    { databaseUrl: service.databaseUrl, retention: { firstMs: 0, everyMs: 1 } },
  );
  await keeper.log.waitFor(({ message }) => message === 'old attempts removed');
  await sql('alter table redemptions rename to elsewhere');
  await keeper.log.waitFor(({ level, message }) => level === 'warn' && message === 'retention failed');
  await sql('alter table elsewhere rename to redemptions');
  const other = await service.sql.connect();
  await other.query('select pg_advisory_lock(7305005)');
  const locked = await attempts('11 days', 2);
  await other.query('begin');
  await other.query('select from attempts where request_id = $1 for update', [locked]);
  await other.query('select pg_advisory_unlock(7305005)');
  await keeper.log.waitFor(({ message, count }) => message === 'old rows left for the next run' && count === 2);
  await other.query('rollback');
  other.release();
  await keeper.log.waitFor(({ message, count }) => message === 'old attempts removed' && count === 2);
  await keeper.stop();
  const old = await attempts('11 days');
  expect(await left(old)).toBe(1);
});
