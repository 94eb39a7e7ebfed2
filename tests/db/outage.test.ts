import { type BehindProxy, startBehindProxy } from '../harness/behind-proxy';
import type { TestCpo } from '../harness/harness';
import { untilAnswered, untilStatus } from '../harness/until';

let { proxy, service, stop } = {} as BehindProxy;
let cpo: TestCpo;
beforeAll(async () => {
  ({ proxy, service, stop } = await startBehindProxy());
  cpo = await service.cpo();
  expect((await service.pair(cpo, (await service.code()).code)).status).toBe(200);
});
afterAll(() => stop());

/** Time to come back after an outage. */
const BACK_MS = 10_000;

test.each([
  ['refuses connections', () => proxy.down()],
  ['swallows every packet', () => proxy.swallow()],
])('while the database %s every answer is a 503 within 5 s, and afterwards all is well', async (_name, breakIt) => {
  const code = await service.code();
  await breakIt();
  const began = performance.now();
  const answers = await Promise.all([
    service.pair(cpo, code.code),
    service.followCode(code.id, 30),
    service.request('GET', '/v1/scsp/me', { token: 'scsp_cpo_unknown' }),
    service.request('GET', '/ready'),
    service.request('POST', '/v1/app/pairing-codes', {
      token: service.appToken,
      body: { user_id: 'u', charging_location_id: 'l' },
    }),
  ]);
  expect(performance.now() - began).toBeLessThan(5_000);
  for (const { status, body, headers } of answers) {
    expect([status, body.type]).toEqual([503, '/problems/unavailable']);
    expect(headers.get('Retry-After')).toMatch(/^\d+$/);
  }
  expect((await service.request('GET', '/live')).status).toBe(200);

  await proxy.up();
  expect((await untilStatus(200, () => service.request('GET', '/ready'), BACK_MS)).status).toBe(200);
  expect((await untilStatus(200, () => service.pair(cpo, code.code), BACK_MS)).status).toBe(200);
  expect((await service.followCode(code.id)).body.status).toBe('used');
});

test('a code that somebody else holds does not keep others from pairing', async () => {
  const held = await service.code();
  const codes = await Promise.all(Array.from({ length: 5 }, () => service.code()));
  const holder = await service.sql.connect();
  await holder.query('begin');
  await holder.query('select from pairing_codes where id = $1 for update', [held.id]);

  // They wait for two seconds at most.
  const waiting = Array.from({ length: 20 }, () => untilAnswered(() => service.pair(cpo, held.code)));
  const innocent = await Promise.all(codes.map(({ code }) => untilAnswered(() => service.pair(cpo, code))));
  for (const { status } of innocent) expect(status).toBe(200);
  await holder.query('commit');
  holder.release();
  const statuses = (await Promise.all(waiting)).map(({ status }) => status).sort();
  expect(statuses).toEqual([200, ...Array(19).fill(404)]);
});
