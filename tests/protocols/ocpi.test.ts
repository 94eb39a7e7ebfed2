import { randomUUID } from 'node:crypto';
import { protocols } from '../../src/protocols';
import wholeEvse from '../fixtures/ocpi/evse.json';
import { type Harness, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness();
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const pair = (body: unknown, protocol = 'ocpi2.2.1') =>
  service.request('POST', `/v1/scsp/${protocol}/pair`, { token: cpo.token, body });
const connector = { id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 };
const anEvse = (part: object = {}) => ({
  uid: randomUUID(),
  evse_id: 'BE*BEC*E041503001',
  connectors: [connector],
  ...part,
});

test.each(['ocpi2.2', 'ocpi2.2.1', 'ocpi2.3.0'])(
  'a whole EVSE of %s is paired, and what the contract does not name is left out',
  async (protocol) => {
    const { id, code } = await service.code();
    const uid = randomUUID();
    const paired = await pair({ code, evse: { ...wholeEvse, uid } }, protocol);
    const evse = {
      uid,
      evse_id: 'BE*BEC*E041503001',
      capabilities: ['RESERVABLE', 'CHARGING_PROFILE_CAPABLE', 'SOMETHING_NEW'],
      connectors: [
        {
          id: '1',
          power_type: 'AC_3_PHASE',
          max_voltage: 220,
          max_amperage: 16,
          standard: 'IEC_62196_T2',
          format: 'CABLE',
        },
        {
          id: '2',
          power_type: 'AC_3_PHASE',
          max_voltage: 220,
          max_amperage: 16,
          standard: 'IEC_62196_T2',
          format: 'SOCKET',
          max_electric_power: 11000,
        },
      ],
    };
    expect([paired.status, paired.body]).toEqual([200, { message: 'Charging station successfully paired.', evse }]);
    expect((await service.followCode(id)).body.pairing).toMatchObject({ uid, payload_protocol: protocol, evse });
  },
);

test('evse_id may be left out, and what is optional stays out', async () => {
  const evse = { uid: randomUUID(), connectors: [connector] };
  const paired = await pair({ code: (await service.code()).code, evse });
  expect(paired.body.evse).toEqual(evse);
});

test.each([
  [{ evse: { evse_id: 1 } }, ['/code', '/evse/uid', '/evse/connectors', '/evse/evse_id']],
  [{ code: '1', evse: anEvse({ uid: 'x'.repeat(37) }) }, ['/evse/uid']],
  [{ code: '1', evse: anEvse({ uid: '.' }) }, ['/evse/uid']],
  [{ code: '1', evse: anEvse({ evse_id: '' }) }, ['/evse/evse_id']],
  [{ code: '1', evse: anEvse({ evse_id: 'x'.repeat(49) }) }, ['/evse/evse_id']],
  [
    {
      code: '1',
      evse: anEvse({
        connectors: [
          { ...connector, id: 'a' },
          { ...connector, id: 'A' },
        ],
      }),
    },
    ['/evse/connectors/1/id'],
  ],
  [{ code: '1', charging_station: {} }, ['/evse']],
])('%j has faults at %j', async (body, pointers) => {
  const answer = await pair(body);
  expect(answer.status).toBe(400);
  expect(answer.body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual(pointers.sort());
});

test('a uid is one in the platform, whichever format names it', async () => {
  const uid = `Mixed-${randomUUID()}`.slice(0, 36);
  expect((await pair({ code: (await service.code()).code, evse: anEvse({ uid }) })).status).toBe(200);
  const station = { uid: uid.toUpperCase(), evses: [{ evse_id: 1, connectors: [connector] }] };
  expect((await service.pair(cpo, (await service.code()).code, station)).status).toBe(409);
});

test('an unknown protocol is answered with all known ones', async () => {
  const answer = await pair({}, 'ocpi2.1.1');
  expect(answer.body.message).toBe(`Unsupported payload protocol. Supported: ${Object.keys(protocols).join(', ')}.`);
});
