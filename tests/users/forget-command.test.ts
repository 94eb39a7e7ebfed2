import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { deriveKeys, hashSubject } from '../../src/crypto/keys';
import { command } from '../harness/a-command';
import { aStation, type Harness, SECRET_KEY, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
let cpo: TestCpo;
const folder = mkdtempSync(join(tmpdir(), 'scsp-forget-'));
beforeAll(async () => {
  service = await startHarness();
  cpo = await service.cpo();
});
afterAll(async () => {
  await service.stop();
  rmSync(folder, { recursive: true });
});

const PREVIOUS = 'the secret key that was used before the last rotation';
const scsp = (...args: string[]) =>
  command({ DATABASE_URL: service.databaseUrl, SECRET_KEY, SECRET_KEY_PREVIOUS: PREVIOUS }, args);
const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await scsp(...args, '--json');
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout);
};
const hashOf = (user: string, key = SECRET_KEY) => hashSubject(deriveKeys(key), 'user', user).toString('hex');
const sql = async (text: string, parameters: unknown[] = []) => (await service.sql.query(text, parameters)).rows;
const seen = async (user: string) =>
  (
    await service.request('GET', `/v1/app/charging-stations?user_id=${user}`, { token: service.appToken })
  ).body.items.map(({ uid }: { uid: string }) => uid);
async function paired(user_id: string = randomUUID()) {
  const uid = `S-${randomUUID()}`;
  const { code } = await service.code({ user_id, charging_location_id: randomUUID() });
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
  return { user_id, uid };
}
const file = (content: string) => {
  const name = join(folder, randomUUID());
  writeFileSync(name, content);
  return name;
};

describe('scsp user forget ID', () => {
  test('erases a user, all of it, and says who did so', async () => {
    const { user_id, uid } = await paired();
    await service.code({ user_id });
    expect(await json('user', 'forget', user_id)).toEqual({ user_hash: hashOf(user_id), codes: 1, pairings: 1 });
    expect(await seen(user_id)).toEqual([]);
    expect(await sql('select from attempts where lower(uid) = lower($1)', [uid])).toEqual([]);
    expect(await sql('select from erasures')).toEqual([]);
    const entries = await json('audit', 'list', '--action', 'user.forget');
    expect(entries).toMatchObject([{ actor: userInfo().username, detail: { user_hash: hashOf(user_id) } }]);
    expect(await json('user', 'forget', user_id)).toEqual({ user_hash: hashOf(user_id), codes: 0, pairings: 0 });
    expect(await json('audit', 'list', '--action', 'user.forget')).toEqual(entries);
  });

  test.each([[[]], [['user-1', '--replay', 'file']]])('takes an id or a file: %j', async (args) => {
    const { code, stderr } = await scsp('user', 'forget', ...args);
    expect([code, stderr]).toEqual([2, "error: one of '[ID]' and '--replay <FILE>' is required\n"]);
  });
});

describe('scsp user forget --replay FILE', () => {
  test('forgets again whom the audit log names, however often, and nobody else', async () => {
    const [gone, stays] = [await paired(), await paired()];
    await service.code({ user_id: gone.user_id });
    const before = await sql('select * from pairings where user_id = $1', [gone.user_id]);
    expect(before).toHaveLength(1);
    const entry = {
      action: 'user.forget',
      happened_at: new Date().toISOString(),
      detail: { user_hash: hashOf(gone.user_id) },
    };
    const erasures = file(JSON.stringify([{ action: 'cpo.add', detail: { name: 'x' } }, entry]));
    expect(await json('user', 'forget', '--replay', erasures)).toEqual({
      erasures: 1,
      users: 1,
      codes: 1,
      pairings: 1,
    });
    expect([await seen(gone.user_id), await seen(stays.user_id)]).toEqual([[], [stays.uid]]);
    expect(await json('user', 'forget', '--replay', erasures)).toEqual({
      erasures: 1,
      users: 0,
      codes: 0,
      pairings: 0,
    });
  });

  test('takes what the service has logged, lines of other programs among it', async () => {
    const { user_id, uid } = await paired();
    await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
    const line = await service.log.waitFor((one) => one.user_hash === hashOf(user_id));
    // As a restore brings them back.
    await sql(
      `insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at)
      values (gen_random_uuid(), $1, $2, $3, 'home', now() - interval '1 day')`,
      [cpo.id, uid, user_id],
    );
    const erasures = file(['npm start', JSON.stringify(line), '{"message":"listening"}', ''].join('\n'));
    expect(await json('user', 'forget', '--replay', erasures)).toMatchObject({ erasures: 1, users: 1, pairings: 1 });
    expect(await sql('select from pairings where user_id = $1', [user_id])).toEqual([]);
  });

  test('knows hashes under SECRET_KEY_PREVIOUS', async () => {
    const { user_id } = await paired();
    const entry = {
      message: 'user forgotten',
      timestamp: new Date().toISOString(),
      user_hash: hashOf(user_id, PREVIOUS),
    };
    const erasures = file(JSON.stringify(entry));
    expect(await json('user', 'forget', '--replay', erasures)).toMatchObject({ users: 1 });
    expect(await seen(user_id)).toEqual([]);
  });

  test('leaves alone what began after the user was forgotten', async () => {
    const { user_id } = await paired();
    const [{ now }] = await sql('select now()');
    const entry = { message: 'user forgotten', timestamp: now, user_hash: hashOf(user_id) };
    const { uid } = await paired(user_id);
    const code = await service.code({ user_id });
    const erasures = file(JSON.stringify(entry));
    expect(await json('user', 'forget', '--replay', erasures)).toMatchObject({ users: 1, codes: 0, pairings: 1 });
    expect(await seen(user_id)).toEqual([uid]);
    expect((await service.followCode(code.id)).body.status).toBe('active');
  });

  test('refuses a file that is damaged or missing, and changes nothing', async () => {
    for (const content of [
      '{"message":"user forgotten","user_',
      '{"message":"user forgotten"}',
      '[{"action":"user.forget"}]',
    ])
      expect((await scsp('user', 'forget', '--replay', file(content))).code).toBe(1);
    const { code, stderr } = await scsp('user', 'forget', '--replay', join(folder, 'none'));
    expect([code, stderr]).toEqual([1, expect.stringContaining('no such file')]);
  });
});
