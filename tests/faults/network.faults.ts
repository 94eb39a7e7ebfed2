import { type BehindProxy, startBehindProxy } from '../harness/behind-proxy';
import { aStation, type TestCpo } from '../harness/harness';
import { SHORT, secondsUntil, timed } from './fault';

let { database, proxy, service, direct, stop } = {} as BehindProxy;
let cpo: TestCpo;
beforeEach(async () => {
  ({ database, proxy, service, direct, stop } = await startBehindProxy());
  cpo = await service.cpo();
});
afterEach(() => stop());

const times = <T>(n: number, make: (i: number) => T) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const ready = () => service.request('GET', '/ready');
const issue = () =>
  service.request('POST', '/v1/app/pairing-codes', {
    token: service.appToken,
    body: { user_id: 'u', charging_location_id: 'l' },
  });
const secondsUntilPaired = (code: string) =>
  secondsUntil(async () => (await service.pair(cpo, code)).status === 200, 15);
const nothingBroke = () => expect(service.log.lines.filter(({ level }) => level === 'error')).toEqual([]);

test('however many ask while packets vanish, each is answered within 5 s', async () => {
  const { code } = await service.code();
  const spare = await service.code();
  proxy.swallow();
  for (let round = 0; round < 2; round++) {
    const { seconds, result } = await timed(() =>
      Promise.all([
        // More of one CPO at a time would be answered 429 (LIMIT_IN_FLIGHT).
        times(250, () => service.pair(cpo, code)),
        times(100, () => service.unpairAsApp('nobody')),
        times(100, issue),
        times(10, ready),
      ]),
    );
    for (const { status } of result.flat()) expect(status).toBe(503);
    expect(seconds).toBeLessThan(5);
  }
  await proxy.up();
  expect(await secondsUntilPaired(spare.code)).toBeLessThan(1);
  nothingBroke();
});

test('after the host of the database has died, its connections are given up and the new host serves within 5 s', async () => {
  const codes = await times(40, () => service.code());
  // All connections are in use a moment before.
  await times(20, ready);
  proxy.bury();
  const [seconds] = await Promise.all([secondsUntilPaired(codes[0].code), times(10, ready)]);
  expect(seconds).toBeLessThan(5);
  for (const { code } of codes.slice(1, 20)) {
    const paired = await timed(() => service.pair(cpo, code));
    expect(paired.result.status).toBe(200);
    expect(paired.seconds).toBeLessThan(1);
  }
  const rest = await times(20, (i) => service.pair(cpo, codes[20 + i].code));
  expect(rest.map(({ status }) => status)).toEqual(Array(20).fill(200));
  nothingBroke();
});

test('connections to a server that only reads now are given up for the one that writes', async () => {
  const codes = await times(4, () => service.code());
  const name = new URL(database.url).pathname.slice(1);
  await direct.query(`alter database ${name} set default_transaction_read_only = on`);
  proxy.cut();
  await secondsUntil(async () => (await ready()).status === 200);
  expect((await service.pair(cpo, codes[0].code)).status).toBe(503);
  await times(20, ready);
  await direct.query('set default_transaction_read_only = off');
  await direct.query(`alter database ${name} reset default_transaction_read_only`);
  for (const { code } of codes) expect(await secondsUntilPaired(code)).toBeLessThan(1);
  await times(20, () => service.code());
  nothingBroke();
});

test('a connection that is lost in the middle of a transaction harms those in it only', async () => {
  await direct.query('select pg_advisory_lock(7305002)');
  const waiting = times(3, issue);
  const WAITS = `select pid from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`;
  await secondsUntil(async () => ((await direct.query(WAITS)).rowCount ?? 0) > 0);
  await direct.query(`select pg_terminate_backend(pid) from (${WAITS}) waiting`);
  for (const { status } of await waiting) expect(status).toBe(503);
  await direct.query('select pg_advisory_unlock(7305002)');
  expect((await service.code()).status).toBe('active');
  nothingBroke();
});

test('every connection is killed under load again and again: the service goes on, and what it acknowledged is there', async () => {
  const acknowledged: string[] = [];
  let over = false;
  const one = async () => {
    while (!over) {
      const { status, body } = await service.request('POST', '/v1/app/pairing-codes', {
        token: service.appToken,
        body: { user_id: `${Math.random()}`, charging_location_id: 'l' },
      });
      if (status !== 201) continue;
      const station = aStation();
      if ((await service.pair(cpo, body.code, station)).status === 200) acknowledged.push(station.uid);
    }
  };
  const load = times(8, one);
  for (let round = 0; round < (SHORT ? 5 : 30); round++) {
    const before = acknowledged.length;
    await secondsUntil(async () => acknowledged.length > before + 10);
    await direct.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
  }
  over = true;
  await load;
  const { rows } = await direct.query<{ uid: string }>('select uid from stations');
  const stored = new Set(rows.map(({ uid }) => uid));
  expect(acknowledged.filter((uid) => !stored.has(uid))).toEqual([]);
  nothingBroke();
});
