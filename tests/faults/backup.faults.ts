import { appendFileSync, chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { Webhook } from 'standardwebhooks';
import { type Embedded, startEmbedded } from '../../src/embedded-postgres/launcher';
import { command } from '../harness/a-command';
import { type AnEvent, eventsAfter, followUntil } from '../harness/feed';
import { SECRET_KEY } from '../harness/harness';
import { untilSo } from '../harness/until';
import { type BackedUp, backUpDuringLoad, everyEvent, pair, pairWithKey, startService } from './a-backed-up-service';
import { PASSWORD, postgresServer, type Server } from './a-postgres-server';
import { DAMAGE, UNHARMED } from './damage';
import { runDocumented } from './documented';
import { secondsUntil } from './fault';
import { account, deployed, freePorts } from './programs';

const home = mkdtempSync(join(tmpdir(), 'scsp-backup-'));
const BACKUP = join(home, 'backup');
const PASSWORDS = ['owner', 'service', 'replicator'].map((who) => [`CHANGE-ME-${who}`, PASSWORD] as const);
let original: Server;
let inTime: Server;
let newer: Embedded;
let backedUp: BackedUp;

/** The variables of docs/backup.md, for a database of the server at this address. */
function variables(at: string, database: string): Record<string, string> {
  const url = (changes: object) => Object.assign(new URL(at), changes).href;
  const as = (username: string) => ({ username, password: PASSWORD, pathname: database });
  return {
    ...{ BACKUP, SECRET_KEY, SANDBOX: 'true' },
    ADMIN_URL: url({ pathname: database }),
    OWNER_URL: url(as('scsp_owner')),
    MIGRATION_DATABASE_URL: url(as('scsp_owner')),
    DATABASE_URL: url(as('scsp_service')),
    REPLICATION_URL: url({ ...as('scsp_replicator'), pathname: '' }),
  };
}

async function query(url: string, sql: string): Promise<any[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return (await client.query(sql).finally(() => client.end())).rows;
}

/** As psql runs it: one statement after the other, because a database cannot be created in a transaction. */
async function createRoles(url: string) {
  for (const statement of deployed('postgresql/roles.sql', PASSWORDS).split(';\n')) await query(url, statement);
}

beforeAll(async () => {
  chmodSync(home, 0o711);
  mkdirSync(join(BACKUP, 'wal'), { recursive: true });
  const { uid, gid } = account();
  if (uid !== undefined && gid !== undefined)
    for (const folder of [home, BACKUP, join(BACKUP, 'wal')]) chownSync(folder, uid, gid);
  const [one = 0, two = 0] = await freePorts(2);
  original = postgresServer(home, 'original', one);
  inTime = postgresServer(home, 'in-time', two);
  await original.init();
  const archive = deployed('postgresql/archive.conf', [['/var/backups/scsp', BACKUP]]);
  appendFileSync(join(home, 'original', 'postgresql.conf'), archive);
  await original.start();
  await original.waitForNobody();
  await createRoles(original.url('postgres', 'postgres'));
  newer = await startEmbedded({ dir: join(home, 'newer') });
  await createRoles(newer.url);
  await query(newer.url, 'create database scsp_data owner scsp_owner');

  const env = variables(original.url('postgres', 'scsp'), 'scsp');
  expect(await command(env, ['migrate'])).toMatchObject({ code: 0 });
  const service = await startService(env.DATABASE_URL ?? '');
  backedUp = await backUpDuringLoad(service, async () => {
    await runDocumented('pg_basebackup', env, { cwd: home, ...account() });
    await runDocumented('pg_dump', env, { cwd: home });
  });
  await runDocumented('audit list --limit 1000000', env, { cwd: home });
  await service.stop();
  const [{ file }] = await original.query('select pg_walfile_name(pg_switch_wal()) as file');
  await secondsUntil(async () => {
    const [{ archived }] = await original.query('select last_archived_wal as archived from pg_stat_archiver');
    return archived >= file;
  });
  await original.end('SIGQUIT');
});
afterAll(async () => {
  for (const server of [original, inTime]) await server?.end('SIGQUIT');
  await newer?.stop();
  rmSync(home, { recursive: true, force: true });
});

test('a dump can be restored into another major version', async () => {
  const env = variables(newer.url, 'scsp');
  await runDocumented('pg_restore --exit-on-error', env, { cwd: home });
  await expectRestored(env);
});

test('the data of a dump can be restored into tables that were migrated', async () => {
  const env = variables(newer.url, 'scsp_data');
  await runDocumented('pg_restore --data-only', env, { cwd: home });
  await expectRestored(env);
});

test('a base backup and its WAL can be restored to a point in time', async () => {
  const env = variables(inTime.url('postgres', 'scsp'), 'scsp');
  const where = { PGDATA: join(home, 'in-time'), UNTIL: backedUp.until };
  await runDocumented('recovery.signal', { ...env, ...where }, { cwd: home, ...account() });
  await inTime.start();
  await secondsUntil(async () => !(await inTime.query('select pg_is_in_recovery() as recovers'))[0].recovers);
  await expectRestored(env);
});

/** What must hold of a restored database, and of the service on it after the steps for all restores. */
async function expectRestored(env: Record<string, string>) {
  const url = env.DATABASE_URL ?? '';
  expect((await query(env.ADMIN_URL ?? '', DAMAGE))[0]).toEqual(UNHARMED);
  await runDocumented('--replay', env, { cwd: home });

  const { app, cpo, leaked, receiver, endpoint } = backedUp;
  const [alreadyReceived, alreadyAsked] = [receiver.received.length, cpo.received.length];
  for (const waiting of ['webhook_deliveries', 'outbox'])
    await query(url, `update ${waiting} set next_attempt_at = now() where leased_until is null`);
  const service = await startService(url);
  await service.log.waitFor(({ message }) => message.includes('was restored'));

  // Tokens, but the one that was revoked.
  const status = async (path: string, token: string) => (await service.request('GET', path, { token })).status;
  expect(await status('/v1/scsp/me', cpo.token)).toBe(200);
  expect(await status('/v1/scsp/me', leaked.token)).toBe(401);
  expect(await status('/v1/app/cpos', app.token)).toBe(200);
  expect(await status('/v1/links', backedUp.service.ingestToken)).toBe(200);

  // What was acknowledged before the backup is there; the user who was forgotten after it is not.
  const stations = await query(url, 'select uid from stations s join pairings p on p.id = s.pairing_id');
  const uids = new Set(stations.map(({ uid }) => uid));
  expect([...backedUp.acknowledged, backedUp.station.uid].filter((uid) => !uids.has(uid))).toEqual([]);
  const theirs = `/v1/app/charging-stations?user_id=${backedUp.gone.user_id}`;
  expect((await service.request('GET', theirs, { token: app.token })).body.items).toEqual([]);

  // What waited is sent again, under the same ids, with secrets that open.
  await untilSo(() => backedUp.pendingIds.every((id) => receiver.ids().slice(alreadyReceived).includes(id)));
  for (const { body, headers } of receiver.received.slice(alreadyReceived))
    new Webhook(endpoint.secret).verify(body, headers as Record<string, string>);
  await cpo.asked(alreadyAsked + 1);
  expect(cpo.received[alreadyAsked]?.headers.authorization).toContain(cpo.outboundToken);

  // A stored response is replayed; a request from after the backup is processed again.
  const replayed = await pairWithKey(service, cpo, backedUp.firstKey, backedUp.first);
  expect([replayed.status, replayed.headers.get('Idempotent-Replayed')]).toEqual([200, 'true']);
  const again = await pairWithKey(service, cpo, backedUp.lastKey, backedUp.last);
  expect([again.status, again.headers.get('Idempotent-Replayed')]).toEqual([200, null]);
  const { uid } = await pair(service, cpo);
  expect((await service.unpairAsCpo(cpo, uid)).status).toBe(200);

  await expectPositionsGoOn(service, uid);
  await service.stop();
}

/** Whoever followed the lost database is told first; no position is that of another event than before. */
async function expectPositionsGoOn(service: BackedUp['service'], uid: string) {
  const unpaired = (event: AnEvent) => event.type === 'station.unpaired' && event.data.uid === uid;
  const next = await followUntil(service, backedUp.end, unpaired);
  expect(next[0]?.type).toBe('feed.restarted');
  const former = new Map(backedUp.events.map(({ position, id }) => [position, id]));
  const events = await everyEvent(service);
  const restart = events.findIndex(({ type }) => type === 'feed.restarted');
  for (const { position, id } of events.slice(0, restart)) expect(former.get(position)).toBe(id);
  const positions = events.map(({ position }) => BigInt(position));
  expect(positions).toEqual([...new Set(positions)].sort((a, b) => (a < b ? -1 : 1)));
  expect(positions[restart]).toBeGreaterThan(BigInt(backedUp.end) + 900_000_000n);
  const beyond = `after=${positions.at(-1)! + 1n}`;
  expect((await eventsAfter(service, beyond)).body.type).toBe('/problems/events-expired');
}
