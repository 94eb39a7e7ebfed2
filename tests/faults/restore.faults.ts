import { execFile } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endOf, eventsAfter, followUntil } from '../harness/feed';
import { aStation, type Harness, NO_LIMITS, startHarness } from '../harness/harness';
import { PASSWORD, postgresServer, type Server } from './a-postgres-server';
import { account, freePorts, program } from './programs';

const run = promisify(execFile);
let home: string;
let original: Server;
let restored: Server;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'scsp-restore-'));
  chmodSync(home, 0o711);
  const { uid, gid } = account();
  if (uid !== undefined && gid !== undefined) chownSync(home, uid, gid);
  const [one = 0, two = 0] = await freePorts(2);
  original = postgresServer(home, 'original', one);
  restored = postgresServer(home, 'restored', two);
  await original.init();
  await original.start();
  await original.waitForNobody();
  await original.query('create database scsp');
});
afterEach(async () => {
  for (const server of [original, restored]) await server.end('SIGQUIT');
  rmSync(home, { recursive: true, force: true });
});

const start = (server: Server) => startHarness(NO_LIMITS, { databaseUrl: server.url('postgres', 'scsp') });

async function pair(service: Harness, uid: string) {
  const after = await endOf(service);
  const cpo = await service.cpo();
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  return (await followUntil(service, after, ({ data }) => data.uid === uid)).at(-1)!;
}

/** What a follower at a position gets from the restored database: it is told first, and positions go on higher. */
async function expectRestart(service: Harness, after: string) {
  const next = await pair(service, 'after the restore');
  const { body } = await eventsAfter(service, `after=${after}`);
  expect(body.items[0].type).toBe('feed.restarted');
  expect(BigInt(next.position) - BigInt(after)).toBeGreaterThan(900_000_000n);
}

test('after a dump and restore into another cluster positions go on, never twice, and followers are told', async () => {
  const before = await start(original);
  const { position } = await pair(before, 'before the dump');
  await before.stop();
  const dump = join(home, 'dump');
  const env = { ...process.env, LC_ALL: 'C.UTF-8' };
  await run(program('pg_dump'), ['--format=custom', `--file=${dump}`, original.url('postgres', 'scsp')], { env });
  await restored.init();
  await restored.start();
  await restored.waitForNobody();
  await restored.query('create database scsp');
  await run(program('pg_restore'), ['--exit-on-error', `--dbname=${restored.url('postgres', 'scsp')}`, dump], { env });

  const after = await start(restored);
  const old = await eventsAfter(after, `after=${BigInt(position) - 1n}`);
  expect(old.body.items[0].data.uid).toBe('before the dump');
  await expectRestart(after, position);
  await after.stop();
});

test('after a dump was loaded into the same database again followers are told', async () => {
  const before = await start(original);
  await pair(before, 'before the dump');
  const dump = join(home, 'dump');
  const env = { ...process.env, LC_ALL: 'C.UTF-8' };
  const url = original.url('postgres', 'scsp');
  await run(program('pg_dump'), ['--format=custom', `--file=${dump}`, url], { env });
  const { position } = await pair(before, 'lost');
  await before.stop();
  await run(program('pg_restore'), ['--clean', '--exit-on-error', `--dbname=${url}`, dump], { env });

  const after = await start(original);
  await expectRestart(after, position);
  await after.stop();
});

test('after a restore to an earlier point the positions that were lost are not given again, and followers are told', async () => {
  const before = await start(original);
  await pair(before, 'before the backup');
  await original.query(`create role scsp_replicator login replication password '${PASSWORD}'`);
  await restored.follow(original);
  // What comes now is not in the copy.
  await restored.end('SIGINT');
  await original.waitForNobody();
  const { position } = await pair(before, 'lost');
  await before.stop();
  await original.end('SIGQUIT');
  await restored.start();
  await restored.promote();

  const after = await start(restored);
  await expectRestart(after, position);
  await after.stop();
});
