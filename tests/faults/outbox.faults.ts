import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { sendJson, startCpo } from '../harness/a-cpo';
import { type BehindProxy, startBehindProxy } from '../harness/behind-proxy';
import { aStation } from '../harness/harness';
import { secondsUntil } from './fault';

let { proxy, service, direct, stop } = {} as BehindProxy;
beforeEach(async () => {
  ({ proxy, service, direct, stop } = await startBehindProxy({ SANDBOX: 'true' }));
});
afterEach(() => stop());

const UIDS = ['one', 'two', 'three', 'four'];
const AT_ONCE = 2;
/** A CPO that is to be notified of four unpairs: of two it is being notified, and it has not answered yet. */
async function inTheMiddle() {
  const held: ServerResponse[] = [];
  const backend = await startCpo(service, (res) => void held.push(res));
  for (const uid of UIDS) await service.pair(backend, (await service.code()).code, aStation(uid));
  for (const uid of UIDS) expect((await service.unpairAsApp(uid)).status).toBe(200);
  await backend.asked(AT_ONCE);
  return { backend, held };
}
const failed = () => service.log.waitFor(({ message }) => message === 'outbox: an outcome could not be written');
const left = async () => (await direct.query('select from outbox')).rowCount;

test.each([
  ['refuses connections', () => proxy.down()],
  ['swallows every packet', async () => proxy.swallow()],
  ['was on a host that died', async () => proxy.bury()],
])('CPOs are notified once the database is back that %s meanwhile', async (_name, breakIt) => {
  const { backend, held } = await inTheMiddle();
  await breakIt();
  backend.answer = (res) => sendJson(res, 200, { message: 'ok' });
  for (const res of held) sendJson(res, 200, { message: 'ok' });
  await failed();
  // So long that claiming has failed many times.
  await sleep(8_000);
  await proxy.up();

  // The leases of the calls whose outcome was not written are over.
  await direct.query('update outbox set leased_until = now(), next_attempt_at = now()');
  await secondsUntil(async () => (await left()) === 0);
  const notified = await direct.query(`select from events where type = 'cpo.notified'`);
  expect(notified.rowCount).toBe(UIDS.length);
  expect(service.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  await backend.down();
});

test('a stop while the database is away waits for nothing', async () => {
  const { backend, held } = await inTheMiddle();
  await proxy.down();
  for (const res of held) sendJson(res, 200, { message: 'ok' });
  await failed();
  const began = performance.now();
  await service.stopDelivery();
  // It may take 5 s (STOP_MS); waiting for the database it would not end.
  expect(performance.now() - began).toBeLessThan(10_000);
  await backend.down();
});

test('a stop writes the outcomes of calls in flight, so that nobody is notified twice, and begins no others', async () => {
  const { backend, held } = await inTheMiddle();
  const stopping = service.stopDelivery();
  for (const res of held) sendJson(res, 200, { message: 'ok' });
  await stopping;
  expect(await left()).toBe(UIDS.length - AT_ONCE);
  expect(backend.received).toHaveLength(AT_ONCE);
  await backend.down();
});
