import { Client } from 'pg';
import { Listener } from '../../src/db/listener';
import { endLater } from '../harness/clean-up';
import { createTestDatabase, recordedLog } from '../harness/harness';
import { untilSo } from '../harness/until';

/** Longer than the service waits for a ping. */
const BUSY_MS = 700;

test('a process that was busy for longer than a ping may take has not lost its connection', async () => {
  const database = await createTestDatabase();
  endLater(database.drop);
  const { log, lines } = recordedLog();
  const listener = new Listener(database.url, [], log);
  await listener.start();
  endLater(() => listener.stop());
  const send = Client.prototype.query;
  let pings = 0;
  jest.spyOn(Client.prototype, 'query').mockImplementation(function (this: Client, sql: unknown) {
    pings += 1;
    if (pings > 1) return Reflect.apply(send, this, [sql]);
    // Nothing else runs in this process when the answer arrives, nor when it is due.
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_MS));
    return Reflect.apply(send, this, [String(sql).replace('select', 'select pg_sleep(0.2),')]);
  });
  await untilSo(() => pings >= 3);
  expect(lines).toEqual([]);
  expect(listener.connected).toBe(true);
});
