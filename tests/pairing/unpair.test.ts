import { randomUUID } from 'node:crypto';
import { retryNotification } from '../../src/outbox/outbox';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { anIncorrectCode, aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { untilAnswered, untilSo } from '../harness/until';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const UNKNOWN = 'The specified charging station is not valid or does not exist.';
const pairNew = async (by: TestCpo = cpo, uid = `S-${randomUUID()}`) => {
  const user_id = `user-${randomUUID()}`;
  const paired = await service.pair(by, (await service.code({ user_id })).code, aStation(uid));
  expect(paired.status).toBe(200);
  return { uid, user_id };
};
const notified = (fields: object) =>
  service.log.waitFor(
    (line) =>
      line.message === 'CPO notified of an unpairing' && Object.entries(fields).every(([k, v]) => line[k] === v),
  );
const waiting = async (cpoId: string) =>
  (await service.sql.query('select * from outbox where cpo_id = $1', [cpoId])).rows;

describe('by the CPO', () => {
  test.each(['chargingstations', 'evse'])(
    'the path %s frees a station of either format, in any spelling',
    async (segment) => {
      const ocpp = await pairNew();
      const answer = await service.unpairAsCpo(cpo, ocpp.uid.toLowerCase(), segment);
      expect([answer.status, answer.body]).toEqual([200, { message: 'Charging station successfully unpaired.' }]);
      const uid = randomUUID();
      const body = { code: (await service.code()).code, evse: { uid, connectors: aStation().evses[0]?.connectors } };
      expect((await service.request('POST', '/v1/scsp/ocpi2.2.1/pair', { token: cpo.token, body })).status).toBe(200);
      expect((await service.unpairAsCpo(cpo, uid, segment)).status).toBe(200);
    },
  );

  test('unknown, unpaired, foreign and malformed ones are answered alike', async () => {
    const foreign = await pairNew(await service.cpo());
    const { uid } = await pairNew();
    await service.unpairAsCpo(cpo, uid);
    for (const one of ['unknown', uid, foreign.uid, 'x'.repeat(100), 'a/b c', 'é', '%', '\0']) {
      const answer = await service.unpairAsCpo(cpo, one);
      expect([answer.status, answer.body.message, answer.body.type]).toEqual([
        404,
        UNKNOWN,
        '/problems/unknown-station',
      ]);
    }
    expect(
      (await service.request('GET', `/v1/app/charging-stations/${foreign.uid}`, { token: service.appToken })).status,
    ).toBe(200);
  });

  test('any body is ignored', async () => {
    const { uid } = await pairNew();
    const answer = await service.request('POST', `/v1/scsp/chargingstations/${uid}/unpair`, {
      token: cpo.token,
      raw: '{',
      headers: { 'Content-Type': 'text/plain' },
    });
    expect(answer.status).toBe(200);
  });

  test('a station is paired and unpaired any number of times, and its history is kept', async () => {
    const uid = `Again / ${randomUUID()}`.slice(0, 48);
    for (let round = 0; round < 4; round++) {
      await pairNew(cpo, round % 2 === 0 ? uid : uid.toUpperCase());
      expect((await service.unpairAsCpo(cpo, uid)).status).toBe(200);
    }
    const { rows } = await service.sql.query(
      `select count(*)::int as n, count(ended_at)::int as ended, count(distinct code_id)::int as codes from pairings where station_uid = lower($1)`,
      [uid],
    );
    expect(rows).toEqual([{ n: 4, ended: 4, codes: 4 }]);
  });

  test('the code of an ended pairing stays used up, for its own uid too', async () => {
    const code = await service.code();
    const station = aStation();
    await service.pair(cpo, code.code, station);
    await service.unpairAsCpo(cpo, station.uid);
    expect((await service.pair(cpo, code.code, station)).status).toBe(404);
    expect((await service.followCode(code.id)).body).toMatchObject({ status: 'used', pairing: { uid: station.uid } });
  });

  test('of 50 at the same time exactly one succeeds', async () => {
    const { uid } = await pairNew();
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => untilAnswered(() => service.unpairAsCpo(cpo, uid))),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 404)).toHaveLength(49);
  });
});

describe('for the customer', () => {
  test.each([
    ['ocpp2.0.1', 'chargingstations', (res: any, uid: string) => answerStation(uid)(res, {} as never)],
    [
      'ocpi2.2.1',
      'evse',
      (res: any, uid: string) => sendJson(res, 200, { evse: { uid, connectors: aStation().evses[0]?.connectors } }),
    ],
  ])('the CPO is notified at once, on the path of %s', async (payload_protocol, segment, answer) => {
    const uid = `a/b ${randomUUID().slice(0, 8)}`;
    const backend = await startCpo(service, (res) => answer(res, uid));
    expect((await service.redeem(backend, '1', { payload_protocol })).status).toBe(201);
    backend.answer = (res) => sendJson(res, 200, { message: 'ok' });
    const answered = await service.unpairAsApp(uid.toUpperCase());
    expect([answered.status, answered.body]).toEqual([200, { message: 'Charging station successfully unpaired.' }]);
    expect((await service.unpairAsApp(uid)).status).toBe(404);
    await notified({ cpo_id: backend.id, outcome: 'delivered' });
    expect(backend.received[1]).toMatchObject({
      method: 'POST',
      path: `/v1/cpo/${segment}/${encodeURIComponent(uid)}/unpair`,
      headers: { authorization: `Bearer ${backend.outboundToken}` },
      body: '',
    });
    expect(await waiting(backend.id)).toEqual([]);
    await backend.down();
  });

  test('a CPO that is unavailable is notified when it is back, and 404 counts as notified', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 404, {}));
    const { uid } = await pairNew(backend);
    await backend.down();
    expect((await service.unpairAsApp(uid)).status).toBe(200);
    await service.log.waitFor(
      (line) => line.message === 'CPO not notified of an unpairing yet' && line.cpo_id === backend.id,
    );
    expect(await waiting(backend.id)).toMatchObject([
      { uid, attempts: 1, last_error: 'The CPO could not be reached: the connection was refused.' },
    ]);
    await backend.up();
    await notified({ cpo_id: backend.id, outcome: 'delivered' });
    expect(await waiting(backend.id)).toEqual([]);
    await backend.down();
  });

  test('pauses grow from 1 s to 1 h, after 7 days it is dead-lettered with an error in the log and can be retried', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    const { uid } = await pairNew(backend);
    const failed = (level: string, attempts: number) =>
      service.log.waitFor(
        (line) =>
          line.level === level &&
          line.cpo_id === backend.id &&
          backend.received.length >= attempts &&
          /notifying|not notified/.test(line.message),
      );
    await service.unpairAsApp(uid);
    await failed('warn', 1);
    const pause = async () =>
      (
        await service.sql.query(
          `select id, extract(epoch from next_attempt_at - now())::float8 as seconds from outbox where cpo_id = $1`,
          [backend.id],
        )
      ).rows[0];
    const { id, seconds } = await pause();
    expect(seconds).toBeLessThan(1.5);

    const attempt = async (sql: string) => {
      const before = backend.received.length;
      await service.sql.query(`update outbox set ${sql}, next_attempt_at = now() where cpo_id = $1`, [backend.id]);
      await backend.asked(before + 1);
      for (;;) {
        const { rows } = await service.sql.query(
          `select leased_until is null as settled from outbox where cpo_id = $1`,
          [backend.id],
        );
        if (rows[0].settled) return;
      }
    };
    await attempt('attempts = 30');
    expect((await pause()).seconds).toBeGreaterThan(3_590);
    await attempt(`created_at = now() - interval '8 days'`);
    await service.log.waitFor(
      (line) =>
        line.level === 'error' &&
        line.cpo_id === backend.id &&
        line.message === 'gave up notifying a CPO of an unpairing',
    );

    backend.answer = (res) => sendJson(res, 200, {});
    await retryNotification(service.operator, id);
    await notified({ cpo_id: backend.id, outcome: 'delivered' });
    await backend.down();
  });

  test('a station that was paired there again in the meantime is not reported unpaired', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    const { uid } = await pairNew(backend);
    await backend.down();
    await service.unpairAsApp(uid);
    await service.log.waitFor(
      (line) => line.message === 'CPO not notified of an unpairing yet' && line.cpo_id === backend.id,
    );
    await pairNew(backend, uid.toUpperCase());
    await backend.up();
    await notified({ cpo_id: backend.id, outcome: 'skipped' });
    expect(backend.received).toEqual([]);
    await backend.down();
  });

  test('with user_id only the pairing of that user ends', async () => {
    const { uid, user_id } = await pairNew();
    const unpair = (user: string) =>
      service.request('POST', `/v1/app/charging-stations/${uid}/unpair?user_id=${encodeURIComponent(user)}`, {
        token: service.appToken,
      });
    for (const other of [randomUUID(), `${user_id} `, user_id.toUpperCase()]) {
      const refused = await unpair(other);
      expect([refused.status, refused.body.type]).toEqual([404, '/problems/unknown-station']);
    }
    expect((await unpair('')).status).toBe(400);
    expect((await unpair(user_id)).status).toBe(200);
    expect((await unpair(user_id)).status).toBe(404);
  });

  test('a CPO without an address is not notified', async () => {
    const { uid } = await pairNew();
    expect((await service.unpairAsApp(uid)).status).toBe(200);
    expect(await waiting(cpo.id)).toEqual([]);
  });
});

describe('forgetting a user', () => {
  const forget = (user: string) =>
    service.request('DELETE', `/v1/app/users/${encodeURIComponent(user)}`, { token: service.appToken });

  test('erases what identifies them, frees their stations, tells the CPOs and keeps the counts', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    const user_id = `secret user ${randomUUID()}`;
    const uid = `secret-station-${randomUUID().slice(0, 8)}`;
    const earlier = await service.code({ user_id, charging_location_id: 'secret place' });
    await service.pair(backend, earlier.code, aStation(uid));
    const active = await service.code({ user_id, charging_location_id: 'secret place' });
    const before = (await service.sql.query('select count(*)::int as n from pairings')).rows[0].n;

    expect((await forget(user_id)).status).toBe(204);

    expect((await service.request('GET', `/v1/app/charging-stations/${uid}`, { token: service.appToken })).status).toBe(
      404,
    );
    for (const { id } of [earlier, active]) expect((await service.followCode(id)).status).toBe(404);
    expect((await service.pair(cpo, active.code)).status).toBe(404);
    expect((await service.sql.query('select count(*)::int as n from pairings')).rows[0].n).toBe(before);
    await backend.asked(1);
    expect(await waiting(backend.id)).toMatchObject([{ uid }]);
    backend.answer = (res) => sendJson(res, 200, {});
    await notified({ cpo_id: backend.id, outcome: 'delivered' });

    const { rows: tables } = await service.sql.query(`select tablename from pg_tables where schemaname = 'public'`);
    for (const { tablename } of tables) {
      const { rows } = await service.sql.query(`select t::text as row from ${tablename} t`);
      for (const { row } of rows) expect(row).not.toMatch(/secret/);
    }
    expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
    await backend.down();
  });

  test('erases their uids from what CPOs have tried, in any spelling, and the attempts go on to count', async () => {
    const [one, other] = [await service.cpo(), await service.cpo()];
    const user_id = randomUUID();
    const uids = [`Hidden-1-${user_id.slice(0, 8)}`, `Hidden-2-${user_id.slice(0, 8)}`] as const;
    const wrong = async (by: TestCpo, uid: string) =>
      expect((await service.pair(by, anIncorrectCode(), aStation(uid))).status).toBe(404);
    for (const [by, uid] of [
      [one, uids[0]],
      [one, 'seen'],
      [one, uids[1].toUpperCase()],
      [one, uids[1]],
      [other, uids[0]],
    ] as const)
      await wrong(by, uid);
    for (const uid of uids) {
      const { code } = await service.code({ user_id, charging_location_id: uid });
      expect((await service.pair(one, code, aStation(uid))).status).toBe(200);
    }
    await service.unpairAsCpo(one, uids[0]);
    const body = { code: '1', charging_station: { uid: uids[0].toLowerCase(), evses: [{ evse_id: uids[0] }] } };
    expect((await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: other.token, body })).status).toBe(400);

    const tried = async (by: TestCpo): Promise<any[]> =>
      (await service.request('GET', '/v1/scsp/attempts', { token: by.token })).body.items;
    await untilSo(async () => (await tried(other)).length >= 2);
    const limits = async (by: TestCpo) =>
      (await service.request('GET', '/v1/scsp/me', { token: by.token })).body.limits;
    const before = { tried: await tried(one), limits: await limits(one) };

    expect((await forget(user_id)).status).toBe(204);

    expect(await tried(one)).toEqual(
      before.tried.map(({ uid, ...rest }) => (uid === 'seen' ? { uid, ...rest } : rest)),
    );
    expect((await tried(other)).map(({ outcome, uid, detail }) => [outcome, uid, detail])).toEqual([
      ['invalid-request', undefined, undefined],
      ['incorrect-code', undefined, undefined],
    ]);
    const { rows } = await service.sql.query(
      'select t::text as row from cpo_tries t union all select f::text from failed_attempts f union all select a::text from attempts a',
    );
    for (const { row } of rows) expect(row).not.toMatch(new RegExp(`hidden-.-${user_id.slice(0, 8)}`, 'i'));
    expect(await limits(one)).toEqual(before.limits);
    for (let more = 0; more < 4; more++) await wrong(one, 'seen');
    expect((await service.pair(one, anIncorrectCode(), aStation('seen'))).status).toBe(429);
  });

  test('who is unknown, or already forgotten, is not an error', async () => {
    expect((await forget('nobody')).status).toBe(204);
    expect((await forget('a/b%')).status).toBe(204);
  });
});
