import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { migrate } from '../../src/db/migrate';
import { schema } from '../../src/db/schema';
import { type Embedded, startEmbedded } from '../../src/embedded-postgres/launcher';
import { launch } from '../harness/a-process';
import { anIncorrectCode, aStation, NO_LIMITS, SECRET_KEY, startHarness } from '../harness/harness';
import { startProxy } from '../harness/tcp-proxy';
import { DAMAGE, UNHARMED } from './damage';
import { SHORT, secondsUntil } from './fault';

let folder: string;
let postgres: Embedded;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'scsp-kill-'));
  chmodSync(folder, 0o711);
  postgres = await startEmbedded({ dir: join(folder, 'data') });
  await migrate(postgres.url, schema);
});
afterAll(async () => {
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Pairs as fast as it can until the service no longer answers; the uids whose pairing was acknowledged. */
async function pairUntilDead(
  url: string,
  appToken: string,
  cpoToken: string,
  acknowledged: Set<string>,
): Promise<void> {
  const post = async (path: string, token: string, body: unknown) => {
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as { code: string } };
  };
  const one = async () => {
    for (;;) {
      const issued = await post('/v1/app/pairing-codes', appToken, {
        user_id: randomUUID(),
        charging_location_id: 'l',
      });
      if (issued.status === 503) continue;
      const station = aStation();
      const paired = await post('/v1/scsp/ocpp2.0.1/pair', cpoToken, {
        code: issued.body.code,
        charging_station: station,
      });
      if (paired.status === 200) acknowledged.add(station.uid);
    }
  };
  await Promise.allSettled(Array.from({ length: 8 }, one));
}

test('kill -9 of the service under load loses nothing that was acknowledged and leaves nothing half-stored', async () => {
  const setup = await startHarness(NO_LIMITS, { databaseUrl: postgres.url });
  const cpo = await setup.cpo();
  await setup.stopDelivery();
  const acknowledged = new Set<string>();
  for (let round = 0; round < (SHORT ? 4 : 20); round++) {
    const service = launch({ DATABASE_URL: postgres.url, SECRET_KEY, DATA_DIR: folder, ...NO_LIMITS });
    const url = await service.url();
    const before = acknowledged.size;
    const load = pairUntilDead(url, setup.appToken, cpo.token, acknowledged);
    await secondsUntil(async () => acknowledged.size > before + 20 + round * 3);
    service.child.kill('SIGKILL');
    await service.exited;
    await load;
  }
  const { rows } = await setup.sql.query('select uid from stations');
  const stored = new Set(rows.map(({ uid }) => uid));
  expect([...acknowledged].filter((uid) => !stored.has(uid))).toEqual([]);
  expect((await setup.sql.query(DAMAGE)).rows[0]).toEqual(UNHARMED);
  await setup.stop();
});

test('kill -9 of PostgreSQL under load loses nothing that was acknowledged, and the service goes on', async () => {
  const proxy = await startProxy(postgres.url);
  const service = await startHarness(NO_LIMITS, { databaseUrl: proxy.url });
  const cpo = await service.cpo();
  const acknowledged = new Set<string>();
  let over = false;
  const one = async () => {
    while (!over) {
      const code = await service.code().catch(() => undefined);
      if (code === undefined) continue;
      const station = aStation();
      if ((await service.pair(cpo, code.code, station)).status === 200) acknowledged.add(station.uid);
    }
  };
  const load = Promise.all(Array.from({ length: 8 }, one));
  for (let round = 0; round < (SHORT ? 2 : 5); round++) {
    const before = acknowledged.size;
    await secondsUntil(async () => acknowledged.size > before + 30);
    const pid = Number(readFileSync(join(folder, 'data/postgres/data/postmaster.pid'), 'utf8').split('\n')[0]);
    process.kill(pid, 'SIGKILL');
    await postgres.stop().catch(() => undefined);
    postgres = await startEmbedded({ dir: join(folder, 'data') });
    proxy.switchTo(postgres.url);
  }
  over = true;
  await load;
  const { rows } = await service.sql.query('select uid from stations');
  const stored = new Set(rows.map(({ uid }) => uid));
  expect([...acknowledged].filter((uid) => !stored.has(uid))).toEqual([]);
  expect((await service.sql.query(DAMAGE)).rows[0]).toEqual(UNHARMED);
  await service.stop();
  await proxy.stop();
});

test('a clock that is wrong by hours changes nothing: the one of the database decides', async () => {
  const preload = join(folder, 'wrong-clock.cjs');
  writeFileSync(
    preload,
    `const ahead = Number(process.env.AHEAD_MS); const RealDate = Date;
     global.Date = class extends RealDate { constructor(...a) { a.length ? super(...a) : super(RealDate.now() + ahead); } static now() { return RealDate.now() + ahead; } };`,
  );
  const setup = await startHarness(NO_LIMITS, { databaseUrl: postgres.url });
  const cpo = await setup.cpo();
  for (const ahead of [3 * 3_600_000, -3 * 3_600_000]) {
    const service = launch({
      DATABASE_URL: postgres.url,
      SECRET_KEY,
      DATA_DIR: folder,
      NODE_OPTIONS: `--require ${preload}`,
      AHEAD_MS: String(ahead),
      CODE_TTL_SECONDS: '10',
    });
    const url = await service.url();
    const post = (path: string, token: string, body: unknown) =>
      fetch(url + path, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
    const issue = async () =>
      (await (
        await post('/v1/app/pairing-codes', setup.appToken, { user_id: randomUUID(), charging_location_id: 'l' })
      ).json()) as { id: string; code: string };
    const pair = async (code: string) =>
      (await post('/v1/scsp/ocpp1.6/pair', cpo.token, { code, charging_station: aStation() })).status;
    // Has the validators compiled, which might take longer than a code is valid.
    expect(await pair(anIncorrectCode())).toBe(404);
    expect(await pair((await issue()).code)).toBe(200);
    const late = await issue();
    const poll = await fetch(`${url}/v1/app/pairing-codes/${late.id}?wait=30`, {
      headers: { Authorization: `Bearer ${setup.appToken}` },
    });
    expect(((await poll.json()) as { status: string }).status).toBe('expired');
    expect(await pair(late.code)).toBe(404);
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
  }
  await setup.stop();
});

const mayMount = (() => {
  try {
    execFileSync('sh', ['-c', 'd=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs "$d" && umount "$d" && rmdir "$d"'], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
})();

(mayMount ? test : test.skip)('disk full: 503 and nothing half-stored, and well again when there is room', async () => {
  const disk = join(folder, 'disk');
  // Without the ballast there must be room for a recovery, also when the checkpoints come late and the log has grown.
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256m,mode=0711', 'tmpfs', disk]);
  try {
    const full = await startEmbedded({
      dir: join(disk, 'data'),
      settings: { max_wal_size: '32MB', min_wal_size: '32MB', wal_keep_size: '0' },
    });
    await migrate(full.url, schema);
    const proxy = await startProxy(full.url);
    const service = await startHarness(NO_LIMITS, { databaseUrl: proxy.url });
    const cpo = await service.cpo();
    expect((await service.pair(cpo, (await service.code()).code)).status).toBe(200);
    const { code } = await service.code();
    const filler = new Client(full.url);
    // Without room for the write-ahead log, PostgreSQL stops.
    filler.on('error', () => undefined);
    await filler.connect();
    await filler.query('create table filler (text text)');
    // The rest of the disk is taken by somebody else; what PostgreSQL has allocated it may still use.
    execFileSync('sh', ['-c', `head -c 1G /dev/zero > ${join(disk, 'ballast')} || true`], { stdio: 'ignore' });
    expect(statSync(join(disk, 'ballast')).size).toBeGreaterThan(0);
    await secondsUntil(async () => {
      for (;;)
        await filler.query(`insert into filler select repeat(md5(random()::text), 200) from generate_series(1, 100)`);
    }, 0).catch(() => undefined);
    await filler.end().catch(() => undefined);
    // The pages that its tables have are soon full as well.
    const issue = () =>
      service.request('POST', '/v1/app/pairing-codes', {
        token: service.appToken,
        body: { user_id: randomUUID().padEnd(128, 'x'), charging_location_id: 'x'.repeat(128) },
      });
    let refused: { status: number } | undefined;
    for (let i = 0; i < 1000 && refused === undefined; i++) {
      const answer = await issue();
      if (answer.status !== 201) refused = answer;
    }
    expect(refused?.status).toBe(503);
    rmSync(join(disk, 'ballast'));
    // It may have stopped over a full disk; its operator starts it again.
    const alive = new Client(full.url);
    alive.on('error', () => undefined);
    const up = await alive.connect().then(
      () => alive.end().then(() => true),
      () => false,
    );
    if (!up) await full.stop().catch(() => undefined);
    const again = up ? full : await startEmbedded({ dir: join(disk, 'data') });
    if (!up) proxy.switchTo(again.url);
    const isWell = async () => [200, 404].includes((await service.pair(cpo, code)).status);
    expect(await secondsUntil(isWell)).toBeLessThan(15);
    expect((await service.sql.query(DAMAGE)).rows[0]).toEqual(UNHARMED);
    await service.stop();
    await proxy.stop();
    await again.stop();
  } finally {
    execFileSync('umount', ['-l', disk]);
  }
});
