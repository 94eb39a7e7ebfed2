import { randomUUID } from 'node:crypto';
import { runRetention } from '../../src/retention/retention';
import { aStation, type Harness, recordedLog, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(
    { EVENTS_KEEP_DAYS: '7', PAIRINGS_KEEP_DAYS: '20' },
    { retention: { firstMs: 3_600_000 } },
  );
  await service.stopDelivery();
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;

/** Runs retention; returns the number of batches that have removed something. */
async function keep(settings: Partial<Harness['config']> = {}): Promise<number> {
  let batches = 0;
  const { log } = recordedLog();
  const ctx = {
    config: { ...service.config, ...settings },
    db: service.db,
    log,
    stopping: new AbortController().signal,
  };
  await runRetention(ctx, async () => void batches++);
  return batches;
}

/** Pairs a station with a code; the pairing has ended so long ago, if it has. */
async function pairing(ended?: string) {
  const station = aStation();
  const { id: codeId, code } = await service.code();
  expect((await service.pair(cpo, code, station)).status).toBe(200);
  const [{ id }] = await sql('select id from pairings where code_id = $1', [codeId]);
  if (ended !== undefined) await endPairing(id, ended);
  return { id: id as string, codeId: codeId as string, uid: station.uid };
}

const endPairing = (id: string, ago: string) =>
  sql(
    `update pairings set ended_at = now() - $2::interval, ended_by = 'app', paired_at = now() - $2::interval - interval '1 day'
     where id = $1`,
    [id, ago],
  );

/** How many rows of each table there are of a pairing. */
async function rowsOf({ id, codeId }: { id: string; codeId: string }) {
  const [row] = await sql(
    `select (select count(*) from pairings where id = $1)::int as pairings,
       (select count(*) from stations where pairing_id = $1)::int as stations,
       (select count(*) from evses where pairing_id = $1)::int as evses,
       (select count(*) from connectors where pairing_id = $1)::int as connectors,
       (select count(*) from pairing_codes where id = $2)::int as codes`,
    [id, codeId],
  );
  return row;
}
const NONE = { pairings: 0, stations: 0, evses: 0, connectors: 0, codes: 0 };
const ALL = { pairings: 1, stations: 1, evses: 2, connectors: 3, codes: 1 };

const notify = (pairingId: string | null, gaveUpAgo?: string) =>
  sql(
    `insert into outbox (pairing_id, cpo_id, payload_protocol, uid, gave_up_at)
     values ($1, $2, 'ocpp2.0.1', 'a uid', now() - $3::interval) returning id`,
    [pairingId, cpo.id, gaveUpAgo],
  );

describe('retention of pairings', () => {
  test('removes a pairing PAIRINGS_KEEP_DAYS after its end, with its code and station, and no other', async () => {
    const old = await pairing('20 days 1 minute');
    const [young, active] = [await pairing('19 days 23 hours'), await pairing()];
    await sql(`update pairings set paired_at = now() - interval '10 years' where id = $1`, [active.id]);
    await keep();
    expect(await rowsOf(old)).toEqual(NONE);
    expect((await service.followCode(old.codeId)).status).toBe(404);
    for (const kept of [young, active]) expect(await rowsOf(kept)).toEqual(ALL);
    expect((await service.followCode(young.codeId)).body.status).toBe('used');
  });

  test('removes the pairing of a forgotten user', async () => {
    const old = await pairing('21 days');
    await sql('update pairings set user_id = null, charging_location_id = null, station_uid = null where id = $1', [
      old.id,
    ]);
    await keep();
    expect(await rowsOf(old)).toEqual(NONE);
  });

  test('keeps a pairing while its CPO is still to be notified, and then removes it', async () => {
    const old = await pairing('21 days');
    await notify(old.id);
    await keep();
    expect(await rowsOf(old)).toEqual(ALL);
    await sql('delete from outbox where pairing_id = $1', [old.id]);
    await keep();
    expect(await rowsOf(old)).toEqual(NONE);
  });

  test('removes a dead-lettered notification with its pairing, or as late if it has none', async () => {
    const [old, young] = [await pairing('21 days'), await pairing('19 days')];
    await notify(old.id, '14 days');
    const kept = [...(await notify(young.id, '12 days')), ...(await notify(null, '19 days')), ...(await notify(null))];
    await notify(null, '21 days');
    await keep();
    const left = await sql('select id from outbox');
    expect(left.map(({ id }) => id).sort()).toEqual(kept.map(({ id }) => id).sort());
    await sql('delete from outbox');
  });

  test('keeps a pairing eight days longer than events, because they tell of it until a week after its end', async () => {
    const [old, young] = [await pairing('15 days 1 minute'), await pairing('14 days 23 hours')];
    await keep({ pairingsKeepDays: 7 });
    expect([await rowsOf(old), await rowsOf(young)]).toEqual([NONE, ALL]);
  });

  test('removes no more than one station beyond 1,000 connectors at once', async () => {
    for (let n = 0; n < 5; n++) {
      const { id } = await pairing('21 days');
      await sql(
        `insert into connectors (pairing_id, evse_position, position, connector_id, power_type, max_voltage, max_amperage)
         select $1, 1, 10 + n, n, 'DC', 400, 100 from generate_series(1, 600) n`,
        [id],
      );
    }
    expect(await keep()).toBe(3);
  });

  test('removes many small ones at once', async () => {
    await sql(
      `insert into pairings (id, cpo_id, user_id, station_uid, ended_at)
       select gen_random_uuid(), $1, 'u', 's', now() - interval '21 days' from generate_series(1, 600)`,
      [cpo.id],
    );
    expect(await keep()).toBe(3);
  });

  test('answers 404 to the link of a pairing that was removed, and still finds the next one of the station', async () => {
    const link = async (uid: string, daysAgo: number) => {
      const at = new Date(Date.now() - daysAgo * 86_400_000).toISOString();
      const query = new URLSearchParams({ uid, cpo_id: cpo.id, at });
      return service.request('GET', `/v1/links?${query}`, { token: service.ingestToken });
    };
    const first = await pairing('25 days');
    const { code } = await service.code();
    expect((await service.pair(cpo, code, aStation(first.uid))).status).toBe(200);
    const [{ id }] = await sql('select id from pairings where station_uid = $1 and ended_at is null', [first.uid]);
    await sql(`update pairings set paired_at = now() - interval '24 days' where id = $1`, [id]);
    expect((await link(first.uid, 25.5)).body.pairing_id).toBe(first.id);
    await keep();
    expect(await link(first.uid, 25.5)).toMatchObject({ status: 404, body: { type: '/problems/not-linked' } });
    expect((await link(first.uid, 23)).body.pairing_id).toBe(id);
  });

  test('passes over a pairing that somebody has locked', async () => {
    const [locked, free] = [await pairing('21 days'), await pairing('21 days')];
    const other = await service.sql.connect();
    await other.query('begin');
    await other.query('select from pairings where id = $1 for update', [locked.id]);
    await keep();
    expect([await rowsOf(locked), await rowsOf(free)]).toEqual([ALL, NONE]);
    await other.query('rollback');
    other.release();
    await keep();
    expect(await rowsOf(locked)).toEqual(NONE);
  });

  test('takes no lock on a table that makes a pairing wait', async () => {
    await pairing('21 days');
    const other = await service.sql.connect();
    await other.query('begin; lock table pairings, pairing_codes, stations, evses, connectors in row exclusive mode');
    expect(await keep()).toBe(1);
    await other.query('rollback');
    other.release();
  });
});

test('a backlog of one table does not keep the others waiting', async () => {
  await sql(
    `insert into failed_attempts (cpo_id, failed_at, seq, uid_hash, code_hash)
     select $1, now() - interval '26 hours', n, '', '' from generate_series(1, 100001) n`,
    [cpo.id],
  );
  await sql(`insert into redemption_attempts (id, user_hash, began_at) values ($1, '', now() - interval '2 days')`, [
    randomUUID(),
  ]);
  const log = recordedLog();
  const { config, db } = service;
  await runRetention({ config, db, log: log.log, stopping: new AbortController().signal }, async () => {});
  await log.waitFor(({ message, count }) => message === 'old failed attempts removed' && count === 1);
  expect(log.lines.map(({ message, count }) => [message, count])).toEqual([
    ['old failed attempts removed', 100_000],
    ['old redemption attempts removed', 1],
    ['old failed attempts removed', 1],
  ]);
});
