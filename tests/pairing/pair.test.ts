import { randomUUID } from 'node:crypto';
import { protocols } from '../../src/protocols';
import { aStation, type Harness, startHarness } from '../harness/harness';

const INCORRECT = 'Incorrect Code, please check the code and try again.';

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

/** What the tables hold of a station, whichever way it is spelt. */
const stored = async (uid: string) => {
  const { rows } = await service.sql.query(
    `select p.*, s.uid, s.payload_protocol,
       (select count(*)::int from evses e where e.pairing_id = p.id) as evses,
       (select count(*)::int from connectors c where c.pairing_id = p.id) as connectors,
       (select count(*)::int from events v where v.pairing_id = p.id and v.type = 'station.paired') as events
     from pairings p join stations s on s.pairing_id = p.id where p.station_uid = lower($1)`,
    [uid],
  );
  return rows;
};

test("the seed's request links the station to the customer who was shown the code", async () => {
  const cpo = await service.cpo();
  const code = await service.code({ user_id: 'user-1', charging_location_id: 'home' });
  const station = aStation();

  const paired = await service.pair(cpo, code.code, station);

  expect(paired.status).toBe(200);
  expect(paired.body).toEqual({ message: 'Charging station successfully paired.', charging_station: station });
  const followed = await service.followCode(code.id);
  expect(followed.body).toMatchObject({
    id: code.id,
    status: 'used',
    pairing: {
      uid: station.uid,
      user_id: 'user-1',
      charging_location_id: 'home',
      cpo_id: cpo.id,
      payload_protocol: 'ocpp2.0.1',
      charging_station: station,
    },
  });
  expect(await stored(station.uid)).toMatchObject([{ code_id: code.id, evses: 2, connectors: 3, events: 1 }]);
});

test.each(Object.keys(protocols).filter((name) => name.startsWith('ocpp')))(
  'a station is paired in %s',
  async (protocol) => {
    const code = await service.code();
    const paired = await service.pair(await service.cpo(), code.code, aStation(), protocol);
    expect(paired.status).toBe(200);
    expect((await service.followCode(code.id)).body.pairing.payload_protocol).toBe(protocol);
  },
);

test('optional members are kept, unknown ones are ignored at every level, unknown capabilities are kept', async () => {
  const connector = { id: 'A', power_type: 'DC', max_voltage: 1500, max_amperage: 1000 };
  const known = { ...connector, standard: 'IEC_62196_T2_COMBO', format: 'CABLE', max_electric_power: 350_000 };
  const station = (evse: object, more: object) => ({ uid: randomUUID(), evses: [evse], ...more });
  const sent = station(
    { evse_id: 2_147_483_647, capabilities: ['TELEPATHY'], connectors: [{ ...known, last_updated: 1 }], status: 'X' },
    { location: { city: 'Rotterdam' } },
  );
  const paired = await service.pair(await service.cpo(), (await service.code()).code, sent);
  expect(paired.status).toBe(200);
  expect(paired.body.charging_station).toEqual({
    uid: sent.uid,
    evses: [{ evse_id: 2_147_483_647, capabilities: ['TELEPATHY'], connectors: [known] }],
  });
});

test.each([
  ['spaces', (code: string) => ` ${code.slice(0, 3)} ${code.slice(3)} `],
  ...[
    ...'-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\uff0d\u00a0\u2009\u3000\t\u200b\u200e\u2060\ufeff',
  ].map((sign): [string, (code: string) => string] => [
    `U+${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
    (code) => `${sign}${code.slice(0, 3)}${sign}${sign}${code.slice(3)}`,
  ]),
])('a code typed with %s is the same code', async (_name, typed) => {
  const code = await service.code();
  expect((await service.pair(await service.cpo(), typed(code.code))).status).toBe(200);
});

test.each(['-', ' ', '\u2013\u00a0', '\u200b'.repeat(64)])(
  'a code of nothing but %j is an incorrect one',
  async (code) => {
    const answer = await service.pair(await service.cpo(), code);
    expect([answer.status, answer.body.type]).toEqual([404, '/problems/incorrect-code']);
  },
);

test('every reason for a wrong code gets the same answer, and stores nothing', async () => {
  const cpo = await service.cpo();
  const other = await service.cpo();
  const used = await service.code();
  await service.pair(cpo, used.code);
  const cancelled = await service.code();
  await service.request('DELETE', `/v1/app/pairing-codes/${cancelled.id}`, { token: service.appToken });
  const expired = await service.code();
  await service.sql.query(`update pairing_codes set expires_at = now() where id = $1`, [expired.id]);
  const foreign = await service.code({ cpo_id: other.id });

  for (const code of [used.code, cancelled.code, expired.code, foreign.code, '00000000', 'abc', '💥', '---']) {
    const station = aStation();
    const answer = await service.pair(cpo, code, station);
    expect(answer.status).toBe(404);
    expect(answer.body).toMatchObject({ message: INCORRECT, type: '/problems/incorrect-code', status: 404 });
    expect(await stored(station.uid)).toEqual([]);
  }
  expect((await service.pair(other, foreign.code)).status).toBe(200);
});

test('a uid that is paired, in any spelling and at any CPO, is refused and the code stays good', async () => {
  const first = await service.cpo();
  const second = await service.cpo();
  const station = aStation(`Station-${randomUUID()}`);
  await service.pair(first, (await service.code()).code, station);
  const code = await service.code();

  for (const uid of [station.uid, station.uid.toUpperCase(), station.uid.toLowerCase()]) {
    const refused = await service.pair(second, code.code, aStation(uid));
    expect(refused.status).toBe(409);
    expect(refused.body.type).toBe('/problems/station-already-paired');
  }
  expect((await service.followCode(code.id)).body.status).toBe('active');
  expect((await service.pair(second, code.code)).status).toBe(200);
});

test('the same request sent again after it succeeded gets 409', async () => {
  const cpo = await service.cpo();
  const code = await service.code();
  const station = aStation();
  expect((await service.pair(cpo, code.code, station)).status).toBe(200);
  expect((await service.pair(cpo, code.code, station)).status).toBe(409);
  expect((await service.pair(await service.cpo(), code.code, station)).status).toBe(404);
  expect((await service.pair(cpo, code.code, aStation())).status).toBe(404);
  expect(await stored(station.uid)).toHaveLength(1);
});

test('the largest station is paired and comes back as it was sent', async () => {
  const connectors = Array.from({ length: 2 }, (_, c) => ({
    id: `${c}`,
    power_type: 'DC',
    max_voltage: 1,
    max_amperage: 1,
  }));
  const evses = Array.from({ length: 100 }, (_, e) => ({ evse_id: e + 1, connectors }));
  const station = { uid: 'x'.repeat(48 - 36) + randomUUID(), evses };
  const code = await service.code();
  expect((await service.pair(await service.cpo(), code.code, station)).body.charging_station).toEqual(station);
  expect((await service.followCode(code.id)).body.pairing.charging_station).toEqual(station);
});
