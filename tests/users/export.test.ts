import { randomUUID } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli';
import { LEFT_OUT, SECTIONS } from '../../src/users/export';
import { command } from '../harness/a-command';
import { startCpo } from '../harness/a-cpo';
import { startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { aStation, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { leaks } from '../harness/leaks';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const settings = () => ({ DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' });
const scsp = (...args: string[]) => command(settings(), ['user', 'export', ...args]);
async function exported(user: string): Promise<any> {
  const { code, stdout, stderr } = await scsp(user);
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout);
}
const ids = (rows: { id: string }[]) => rows.map(({ id }) => id);

test('everything that is stored of a user is exported, with the full stations and without codes and hashes', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: receiver.url, types: ['station.paired'] });
  const [user_id, uid, redeemedUid] = [randomUUID(), `S-${randomUUID()}`, `S-${randomUUID()}`];
  const cpo = await startCpo(service, (res) => {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(JSON.stringify({ charging_station: aStation(redeemedUid) }));
  });
  const cancelled = await service.code({ user_id });
  const code = await service.code({ user_id });
  expect((await service.pair(cpo, code.code, aStation(uid))).status).toBe(200);
  const active = await service.code({ user_id });
  expect((await service.redeem(cpo, 'A-CODE', { user_id })).status).toBe(201);
  await receiver.got(2);
  await endpoint.settled();
  // The CPO's notifications wait: the one of a station that is paired there again would be dropped.
  await service.stopDelivery();
  expect((await service.unpairAsApp(uid)).status).toBe(200);
  await scspUnpair(redeemedUid);
  // Of another customer, at a station that the user had before.
  const other = await service.code();
  expect((await service.pair(cpo, other.code, aStation(uid))).status).toBe(200);

  const found = await exported(user_id);
  expect(Object.keys(found)).toEqual(['user_id', 'exported_at', ...Object.keys(SECTIONS)]);
  expect(found.user_id).toBe(user_id);
  expect(ids(found.codes)).toEqual([cancelled.id, code.id, active.id]);
  expect(found.codes.map(({ status }: any) => status)).toEqual(['cancelled', 'used', 'active']);
  expect(found.pairings).toMatchObject([
    {
      cpo_id: cpo.id,
      code_id: code.id,
      charging_location_id: 'home',
      ended_by: 'app',
      charging_station: aStation(uid),
    },
    { cpo_id: cpo.id, ended_by: 'operator', charging_station: aStation(redeemedUid) },
  ]);
  expect(found.attempts).toMatchObject([{ uid, cpo_id: cpo.id, outcome: 'paired' }]);
  expect(found.redemption_attempts).toMatchObject([{ outcome: 'answered' }]);
  expect(found.notifications.map(({ uid }: any) => uid).sort()).toEqual([uid, redeemedUid].sort());
  expect(found.events.map(({ type }: any) => type).sort()).toEqual(
    ['pairing_code.cancelled', 'station.paired', 'station.paired', 'station.unpaired', 'station.unpaired'].sort(),
  );
  expect(found.events.find(({ code_id, type }: any) => code_id === code.id && type === 'station.paired')).toMatchObject(
    {
      webhook_deliveries: [{ endpoint_id: endpoint.id, app: app.name, status: 'delivered' }],
    },
  );
  expect(found.audit).toMatchObject([{ action: 'station.unpair', subject_id: found.pairings[1].id }]);
  const text = JSON.stringify(found);
  expect(leaks(text, [code.code, active.code, cancelled.code, other.id])).toEqual([]);
  for (const hidden of ['\\\\x', 'a test']) expect(text).not.toContain(hidden);
});

async function scspUnpair(uid: string) {
  expect((await command(settings(), ['station', 'unpair', uid])).code).toBe(0);
}

test('of two customers who wanted one station each gets what is theirs', async () => {
  const [owner, refused, uid] = [randomUUID(), randomUUID(), `S-${randomUUID()}`];
  const [cpo, other] = [await service.cpo(), await service.cpo()];
  const ownerCode = await service.code({ user_id: owner });
  expect((await service.pair(cpo, ownerCode.code, aStation(uid))).status).toBe(200);
  const refusedCode = await service.code({ user_id: refused });
  for (const at of [other, cpo]) expect((await service.pair(at, refusedCode.code, aStation(uid))).status).toBe(409);

  const ofOwner = await exported(owner);
  expect(ofOwner.attempts).toMatchObject([{ cpo_id: cpo.id, outcome: 'paired' }]);
  expect(ofOwner.events.map(({ type }: any) => type)).toEqual(['station.paired']);
  expect(JSON.stringify(ofOwner)).not.toContain(refusedCode.id);
  const ofRefused = await exported(refused);
  expect(ofRefused.events).toMatchObject([{ type: 'pairing.refused', code_id: refusedCode.id }]);
  for (const secret of [ofOwner.pairings[0].id, uid]) expect(JSON.stringify(ofRefused)).not.toContain(secret);
});

test('more rows than a page has are exported, each once', async () => {
  const user_id = randomUUID();
  const { rows } = await service.sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, ended_at, expires_at)
     select gen_random_uuid(), sha256(n::text::bytea), 6, $1, 'home', 'expired', now(), now() from generate_series(1, 501) n
     returning id`,
    [user_id],
  );
  expect(ids((await exported(user_id)).codes)).toEqual(ids(rows).sort());
});

describe('what reads the export', () => {
  const exportTo = async (stdout: Writable, user: string) => {
    stdout.on('error', () => undefined);
    const stderr = new Writable({ write: (_chunk, _encoding, done) => done() });
    const stopSignal = () => new AbortController().signal;
    return run(['user', 'export', user], { env: settings(), stdin: Readable.from([]), stdout, stderr, stopSignal });
  };

  test('may be slow: no more than one row waits for it', async () => {
    const user_id = randomUUID();
    for (let n = 0; n < 10; n++) await service.code({ user_id, charging_location_id: `home ${n}` });
    let [most, all] = [0, 0];
    const stdout = new Writable({
      write(chunk, _encoding, done) {
        most = Math.max(most, this.writableLength);
        all += chunk.length;
        setImmediate(done);
      },
    });
    expect(await exportTo(stdout, user_id)).toBe(0);
    expect(most).toBeLessThan(all / 5);
  });

  test('may fail: the exit status is 1', async () => {
    const user_id = randomUUID();
    await service.code({ user_id });
    let writes = 0;
    const stdout = new Writable({ write: (_chunk, _encoding, done) => done(++writes > 2 ? new Error('full') : null) });
    expect(await exportTo(stdout, user_id)).toBe(1);
    expect(writes).toBe(3);
  });
});

test('a user of whom nothing is stored is refused', async () => {
  const { user_id } = await service.code();
  await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
  for (const id of [user_id, 'nobody'])
    expect(await scsp(id)).toEqual({ code: 1, stdout: '', stderr: `scsp: nothing is stored of the user ${id}\n` });
});

/** Names of columns that hold or refer to a user, a code, a pairing or a station, or may have such members. */
const PERSONAL = `column_name ~ '(user|pairing|code|station|uid|location|subject|replaced_by)' or data_type like 'json%'`;

test('every table that could refer to a user is exported, or is left out for a reason', async () => {
  const { rows } = await service.sql.query(
    `select distinct table_name as name from information_schema.columns
     where table_schema = 'public' and table_name <> 'migrations' and (${PERSONAL}) order by 1`,
  );
  const known = [...Object.values(SECTIONS).flatMap(({ tables }) => tables), ...Object.keys(LEFT_OUT)];
  const tables = rows.map(({ name }) => name);
  expect(tables.filter((name) => !known.includes(name))).toEqual([]);
  expect(new Set(known).size).toBe(known.length);
  expect(known.filter((name) => !tables.includes(name))).toEqual(['webhook_deliveries']);
});
