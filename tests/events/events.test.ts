import { randomUUID } from 'node:crypto';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { type AnEvent, endOf, eventsAfter, followUntil } from '../harness/feed';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { untilStatus } from '../harness/until';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;
const about = (member: string, value: unknown, type?: string) => (event: AnEvent) =>
  event.data[member] === value && (type === undefined || event.type === type);

/** The one event that is as wanted, after a position. */
const eventAfter = async (after: string, wanted: (event: AnEvent) => boolean): Promise<AnEvent> =>
  (await followUntil(service, after, wanted)).at(-1)!;

/** A user with a station that is paired by an SCSP-issued code. */
async function paired(by: TestCpo = cpo, user_id: string = randomUUID()) {
  const uid = `S-${randomUUID()}`;
  const { id: code_id, code } = await service.code({ user_id, charging_location_id: 'garage' });
  const after = await endOf(service);
  expect((await service.pair(by, code, aStation(uid))).status).toBe(200);
  const event = await eventAfter(after, about('uid', uid, 'station.paired'));
  return { uid, user_id, code_id, code, event, pairing_id: event.data.pairing_id };
}

describe('station.paired', () => {
  test('shows the station as the app sees it, without its parts, and how it was paired', async () => {
    const { uid, user_id, code_id, event } = await paired();
    const { charging_station: _, ...station } = (
      await service.request('GET', `/v1/app/charging-stations/${uid}`, { token: service.appToken })
    ).body;
    expect(event).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      type: 'station.paired',
      timestamp: expect.stringMatching(/^\d{4}-.*\.\d{3}Z$/),
      position: expect.stringMatching(/^\d+$/),
      data: { ...station, pairing_id: expect.any(String), code_id, method: 'scsp_code' },
    });
    expect(station).toMatchObject({ uid, user_id, charging_location_id: 'garage', cpo_id: cpo.id });
  });

  test('says that a code was issued by the CPO', async () => {
    const uid = `S-${randomUUID()}`;
    const backend = await startCpo(service, answerStation(uid));
    const after = await endOf(service);
    expect((await service.redeem(backend, 'theirs')).status).toBe(201);
    const { data } = await eventAfter(after, about('uid', uid));
    expect(data).toMatchObject({ method: 'cpo_code', cpo_id: backend.id });
    expect(data).not.toHaveProperty('code_id');
    await backend.down();
  });
});

describe('station.unpaired', () => {
  test.each([
    ['cpo', (uid: string) => service.unpairAsCpo(cpo, uid)],
    ['app', (uid: string) => service.unpairAsApp(uid)],
  ])('says that the pairing was ended by: %s', async (reason, unpair) => {
    const { uid, user_id, pairing_id, event } = await paired();
    expect((await unpair(uid)).status).toBe(200);
    const { data } = await eventAfter(event.position, about('pairing_id', pairing_id, 'station.unpaired'));
    const unpaired_at = expect.stringMatching(/^\d{4}-/);
    expect(data).toEqual({
      pairing_id,
      cpo_id: cpo.id,
      unpaired_at,
      reason,
      uid,
      user_id,
      charging_location_id: 'garage',
    });
    const [{ ended_at }] = await sql('select ended_at from pairings where id = $1', [pairing_id]);
    expect(data.unpaired_at).toBe(ended_at.toISOString());
  });

  test('the events of one station come in the order of its changes', async () => {
    const uid = `S-${randomUUID()}`;
    const after = await endOf(service);
    for (let round = 0; round < 5; round++) {
      expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
      expect((await service.unpairAsCpo(cpo, uid)).status).toBe(200);
    }
    let seen = 0;
    const events = await followUntil(
      service,
      after,
      (event) => about('uid', uid, 'station.unpaired')(event) && ++seen === 5,
    );
    const types = events.filter(about('uid', uid)).map(({ type }) => type);
    expect(types).toEqual(Array.from({ length: 5 }, () => ['station.paired', 'station.unpaired']).flat());
  });
});

describe('codes', () => {
  test('a code that is cancelled has an event', async () => {
    const { id, user_id } = await service.code();
    const after = await endOf(service);
    await service.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: service.appToken });
    const event = await eventAfter(after, about('code_id', id));
    expect([event.type, event.data]).toEqual([
      'pairing_code.cancelled',
      { code_id: id, user_id, charging_location_id: 'home' },
    ]);
  });

  test('a code that a newer one cancelled names the newer one', async () => {
    const user_id = randomUUID();
    const { id } = await service.code({ user_id });
    const after = await endOf(service);
    const newer = await service.code({ user_id });
    const event = await eventAfter(after, about('code_id', id));
    expect([event.type, event.data]).toEqual([
      'pairing_code.cancelled',
      { code_id: id, user_id, charging_location_id: 'home', replaced_by: newer.id },
    ]);
  });

  test('a code that expires has an event', async () => {
    const { id, user_id } = await service.code();
    const after = await endOf(service);
    await sql('update pairing_codes set expires_at = now() where id = $1', [id]);
    const event = await eventAfter(after, about('code_id', id));
    expect([event.type, event.data]).toEqual([
      'pairing_code.expired',
      { code_id: id, user_id, charging_location_id: 'home' },
    ]);
  });
});

describe('pairing.refused', () => {
  /** The refusals of a code: the events up to its cancellation. */
  const refusalsOf = async (code_id: string, after: string) => {
    await service.request('DELETE', `/v1/app/pairing-codes/${code_id}`, { token: service.appToken });
    const events = await followUntil(service, after, about('code_id', code_id, 'pairing_code.cancelled'));
    return events.filter(({ type, data }) => type === 'pairing.refused' && data.code_id === code_id);
  };

  test('tells the owner of a correct code that its station is paired already, once, and not with whom', async () => {
    const other = await paired();
    const { id: code_id, code, user_id } = await service.code();
    const after = await endOf(service);
    for (const uid of [other.uid, other.uid.toUpperCase(), other.uid])
      expect((await service.pair(cpo, code, aStation(uid))).status).toBe(409);
    const [refused, ...more] = await refusalsOf(code_id, after);
    expect(refused?.data).toEqual({
      code_id,
      user_id,
      charging_location_id: 'home',
      cpo_id: cpo.id,
      uid: other.uid,
      reason: 'station-already-paired',
    });
    expect(more).toEqual([]);
  });

  test('comes at most ten times for a code, however the requests arrive', async () => {
    const others = await Promise.all(Array.from({ length: 12 }, () => paired()));
    const { id: code_id, code } = await service.code();
    const after = await endOf(service);
    const send = () => Promise.all(others.map(({ uid }) => service.pair(cpo, code, aStation(uid))));
    for (const { status } of [...(await send()), ...(await send())]) expect(status).toBe(409);
    const refused = await refusalsOf(code_id, after);
    expect(new Set(refused.map(({ data }) => data.uid)).size).toBe(10);
    expect(refused).toHaveLength(10);
  });

  test('does not come for a wrong code, nor for the code that made the pairing', async () => {
    const { uid, code, code_id, event } = await paired();
    expect((await service.pair(cpo, code, aStation(uid))).status).toBe(409);
    expect((await service.pair(cpo, 'wrong', aStation(uid))).status).toBe(404);
    expect((await service.unpairAsCpo(cpo, uid)).status).toBe(200);
    const events = await followUntil(service, event.position, about('uid', uid, 'station.unpaired'));
    expect(events.filter(({ type }) => type === 'pairing.refused' && code_id !== undefined)).toEqual([]);
  });
});

describe('cpo.notified', () => {
  test('comes when the CPO has confirmed an unpair, with the number of attempts', async () => {
    const answers = [500, 200];
    const backend = await startCpo(service, (res) => sendJson(res, answers.shift() ?? 200, {}));
    const { uid, pairing_id, event } = await paired(backend);
    expect((await service.unpairAsApp(uid)).status).toBe(200);
    const notified = await eventAfter(event.position, about('pairing_id', pairing_id, 'cpo.notified'));
    expect(notified.data).toEqual({ pairing_id, cpo_id: backend.id, attempts: 2, uid });
    await backend.down();
  });

  test('cpo.notification_failed comes when it was given up', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    const { uid, pairing_id, event } = await paired(backend);
    await service.unpairAsApp(uid);
    await backend.asked(1);
    const [{ traceparent }] = await sql(
      `update outbox set created_at = now() - interval '8 days', next_attempt_at = now() where pairing_id = $1
       returning traceparent`,
      [pairing_id],
    );
    const failed = await eventAfter(event.position, about('pairing_id', pairing_id, 'cpo.notification_failed'));
    expect(failed.data).toEqual({ pairing_id, cpo_id: backend.id, attempts: expect.any(Number), uid });
    // Its deliveries belong to the trace of the unpair.
    expect(await sql('select traceparent from events where id = $1', [failed.id])).toEqual([{ traceparent }]);
    expect(traceparent).toMatch(/^00-/);
    await backend.down();
  });
});

describe('a forgotten user', () => {
  test('leaves events without anything personal, and one pairing.erased for each pairing', async () => {
    const user_id = `user-${randomUUID()}`;
    const before = await endOf(service);
    const ended = await paired(cpo, user_id);
    await service.unpairAsApp(ended.uid);
    const current = await paired(cpo, user_id);
    const refusing = await service.code({ user_id, charging_location_id: 'attic' });
    expect((await service.pair(cpo, refusing.code, aStation(current.uid))).status).toBe(409);
    const other = await service.code();
    expect((await service.pair(cpo, other.code, aStation(current.uid))).status).toBe(409);
    const after = await endOf(service);

    await untilStatus(204, () => service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken }));
    await followUntil(service, after, about('pairing_id', current.pairing_id, 'pairing.erased'));
    const { body } = await eventsAfter(service, `after=${before}&limit=500`);
    const events: AnEvent[] = body.items;
    for (const secret of [user_id, ended.uid, current.uid]) expect(JSON.stringify(events)).not.toContain(secret);
    const dataOf = (type: string, member: string, value: unknown) =>
      events.filter((event) => about(member, value, type)(event)).map(({ data }) => data);

    const { pairing_id, code_id } = current;
    expect(dataOf('station.paired', 'pairing_id', pairing_id)).toEqual([{ pairing_id, code_id, erased: true }]);
    expect(dataOf('station.unpaired', 'pairing_id', pairing_id)).toEqual([
      { pairing_id, cpo_id: cpo.id, unpaired_at: expect.any(String), reason: 'user_forgotten', erased: true },
    ]);
    expect(dataOf('station.unpaired', 'pairing_id', ended.pairing_id)).toEqual([
      { pairing_id: ended.pairing_id, cpo_id: cpo.id, unpaired_at: expect.any(String), reason: 'app', erased: true },
    ]);
    for (const id of [pairing_id, ended.pairing_id])
      expect(dataOf('pairing.erased', 'pairing_id', id)).toEqual([{ pairing_id: id }]);
    expect(dataOf('pairing_code.cancelled', 'code_id', refusing.id)).toEqual([{ code_id: refusing.id, erased: true }]);
    expect(dataOf('pairing.refused', 'code_id', refusing.id)).toEqual([
      { code_id: refusing.id, cpo_id: cpo.id, reason: 'station-already-paired', erased: true },
    ]);
    // The code is another user's; only the uid was of the forgotten one.
    expect(dataOf('pairing.refused', 'code_id', other.id)).toEqual([
      {
        code_id: other.id,
        cpo_id: cpo.id,
        reason: 'station-already-paired',
        user_id: other.user_id,
        charging_location_id: 'home',
      },
    ]);
    const order = events.filter(about('pairing_id', pairing_id)).map(({ type }) => type);
    expect(order.slice(-2)).toEqual(['station.unpaired', 'pairing.erased']);
    expect((await service.request('GET', `/v1/events/${current.event.id}`, { token: service.appToken })).body).toEqual({
      ...current.event,
      data: { pairing_id, code_id, erased: true },
    });
  });
});

test('an event is at most 4 kB, whatever ids an app and a CPO choose', async () => {
  const user_id = '😀'.repeat(64);
  const { code, id: code_id } = await service.code({ user_id, charging_location_id: '€'.repeat(128) });
  const after = await endOf(service);
  expect((await service.pair(cpo, code, aStation('"'.repeat(48)))).status).toBe(200);
  const event = await eventAfter(after, about('code_id', code_id));
  expect(event.data.user_id).toBe(user_id);
  expect(Buffer.byteLength(JSON.stringify(event))).toBeLessThan(4_096);
});
