import { aStation, type Harness, startHarness } from './harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

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
});
