import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { outcomesOf, pairBy, signUp } from '../harness/self-service';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

/** A request as large as one may be. */
const sendLarge = (cpo: TestCpo, code: string, uid = 'large') =>
  service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: cpo.token,
    body: { code, charging_station: aStation(uid), padding: 'x'.repeat(65_000) },
  });

test.each(['000404', '000400', '100000'])('what a self-service CPO has stored by %s is limited', async (code) => {
  const cpo = await signUp(service);
  const statuses: number[] = [];
  while (statuses.at(-1) !== 429 && statuses.length < 60) statuses.push((await sendLarge(cpo, code)).status);
  expect(statuses.length).toBeGreaterThan(40);
  const refused = await pairBy(service, cpo, '000200');
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-requests']);
  const seconds = Number(refused.headers.get('Retry-After'));
  expect([seconds > 1, seconds < 600]).toEqual([true, true]);
  // Refusals are not stored, and everything else goes on.
  expect((await outcomesOf(service, cpo)).every((outcome) => outcome !== 'too-many-requests')).toBe(true);
  expect((await pairBy(service, await signUp(service), '100000')).status).toBe(200);
});

test('a CPO of an operator is not limited', async () => {
  const cpo = await service.cpo();
  const statuses: number[] = [];
  for (let n = 0; n < 60; n++) statuses.push((await sendLarge(cpo, '000404')).status);
  expect(new Set(statuses)).toEqual(new Set([404]));
});
