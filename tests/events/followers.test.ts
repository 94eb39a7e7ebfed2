import { randomUUID } from 'node:crypto';
import { endOf, followUntil } from '../harness/feed';
import { aStation, type Harness, NO_LIMITS, startHarness } from '../harness/harness';
import { until, untilStatus } from '../harness/until';

const WRITERS = 8;
const STATIONS_PER_WRITER = 10;
const PATIENCE_MS = 120_000;

test('whoever keeps the last position misses nothing and sees nothing twice, with two publishers and eight writers', async () => {
  const service = await startHarness(NO_LIMITS);
  const replica = await startHarness(NO_LIMITS, { databaseUrl: service.databaseUrl });
  const cpo = await service.cpo();
  const after = await endOf(service);
  const uids: string[] = [];
  const write = async (at: Harness) => {
    for (let n = 0; n < STATIONS_PER_WRITER; n++) {
      const uid = `S-${randomUUID()}`;
      uids.push(uid);
      const { code } = await at.code();
      // A busy machine may answer 503 although it was done; then the retry is a 409.
      const paired = await until(
        ({ status }) => status < 500,
        () => at.pair(cpo, code, aStation(uid)),
        PATIENCE_MS,
      );
      expect([200, 409]).toContain(paired.status);
      await at.unpairAsCpo(cpo, uid);
      expect((await untilStatus(404, () => at.unpairAsCpo(cpo, uid), PATIENCE_MS)).status).toBe(404);
    }
  };
  const changes = 2 * WRITERS * STATIONS_PER_WRITER;
  const follow = async (at: Harness) => {
    let seen = 0;
    const events = await followUntil(at, after, ({ type }) => type.startsWith('station.') && ++seen === changes);
    return events.map(({ position, type, data }) => ({ position, type, uid: data.uid }));
  };
  const readers = [follow(service), follow(replica), follow(service)];
  await Promise.all(Array.from({ length: WRITERS }, (_, n) => write(n % 2 === 0 ? service : replica)));
  const [one = [], ...others] = await Promise.all(readers);
  for (const other of others) expect(other).toEqual(one);
  const positions = one.map(({ position }) => Number(position));
  expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
  for (const uid of uids)
    expect(one.filter((event) => event.uid === uid).map(({ type }) => type)).toEqual([
      'station.paired',
      'station.unpaired',
    ]);
  await replica.stop();
  await service.stop();
}, 300_000);
