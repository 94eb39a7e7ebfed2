import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { sendJson, startCpo } from '../a-cpo';
import { type BehindProxy, startBehindProxy } from '../behind-proxy';
import { aStation } from '../harness';
import { secondsUntil } from './fault';

let { proxy, service, direct, stop } = {} as BehindProxy;
beforeEach(async () => {
  ({ proxy, service, direct, stop } = await startBehindProxy({ SANDBOX: 'true' }));
});
afterEach(() => stop());

const UIDS = ['one', 'two', 'three', 'four'];
/** A CPO that is being told of four unpairings, all at once, and has not answered yet. */
async function inTheMiddle() {
  const held: ServerResponse[] = [];
  const backend = await startCpo(service, (res) => void held.push(res));
  for (const uid of UIDS) await service.pair(backend, (await service.code()).code, aStation(uid));
  for (const uid of UIDS) expect((await service.unpairAsApp(uid)).status).toBe(200);
  await backend.asked(UIDS.length);
  return { backend, held };
}
const failed = () =>
  service.log.waitFor(({ message, reason }) => message === 'outbox' && String(reason).startsWith('Failed task'));
const left = async () => (await direct.query('select from outbox')).rowCount;

test.each([
  ['refuses connections', () => proxy.down()],
  ['swallows every packet', async () => proxy.swallow()],
  ['was on a host that died', async () => proxy.bury()],
])('CPOs are told, once the database is back that %s while they were being told', async (_name, breakIt) => {
  const { backend, held } = await inTheMiddle();
  await breakIt();
  backend.answer = (res) => sendJson(res, 200, { message: 'ok' });
  for (const res of held) sendJson(res, 200, { message: 'ok' });
  await failed();
  // So long that whoever counts failures has counted many, and that the end of each job has failed to be written.
  await sleep(8_000);
  await proxy.up();

  // The leases of the calls whose end was not written are over.
  await direct.query('update graphile_worker._private_jobs set run_at = now() where locked_at is null');
  await secondsUntil(async () => (await left()) === 0, 10);
  const told = await direct.query(`select from events where type = 'cpo.told'`);
  expect(told.rowCount).toBe(UIDS.length);
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
  expect(performance.now() - began).toBeLessThan(6_000);
  await backend.down();
});

test('a stop writes the ends of what was told, so that nobody is told twice', async () => {
  const { backend, held } = await inTheMiddle();
  const stopping = service.stopDelivery();
  for (const res of held) sendJson(res, 200, { message: 'ok' });
  await stopping;
  expect(await left()).toBe(0);
  expect((await direct.query('select from graphile_worker._private_jobs')).rowCount).toBe(0);
  await backend.down();
});
