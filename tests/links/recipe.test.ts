import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { projectFile } from '../../src/contract/document';
import { endLater } from '../harness/clean-up';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { untilSo } from '../harness/until';

const guide = readFileSync(projectFile('docs/ingest-guide.md'), 'utf8');
const program = /^```js\n([\s\S]*?)^```/m.exec(guide)?.[1] ?? '';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness(NO_LIMITS);
  cpo = await service.cpo();
});
afterAll(() => service.stop());

async function pair(uid = `S-${randomUUID()}`) {
  const user_id = randomUUID();
  const { code } = await service.code({ user_id });
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
  return { uid, user_id };
}
const unpair = (uid: string) => service.unpairAsApp(uid);
const forget = (user_id: string) => service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });

/** Runs the program as the guide says; `ask` writes a question and returns the user in the answer. */
function start() {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-recipe-'));
  writeFileSync(join(folder, 'links.mjs'), program);
  const child = spawn(process.execPath, [join(folder, 'links.mjs')], {
    env: { SCSP_URL: service.url, SCSP_TOKEN: service.ingestToken },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  endLater(() => child.kill('SIGKILL'));
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(line));
  return {
    async ask(uid: string, at = ''): Promise<string | undefined> {
      child.stdin.write(`${cpo.id} ${uid}${at && ` ${at}`}\n`);
      const line = await new Promise<string>((resolve, reject) => {
        waiting.push(resolve);
        void exited.then((code) => reject(new Error(`the program ended with ${code}`)));
      });
      return JSON.parse(line)?.user_id;
    },
    async stop(): Promise<number | null> {
      child.stdin.end();
      const code = await exited;
      rmSync(folder, { recursive: true, force: true });
      return code;
    },
  };
}

test('the program of the guide knows whose the stations are while they are paired and unpaired', async () => {
  expect(program.split('\n').length).toBeLessThan(90);
  const [kept, ended, given, forgotten] = [await pair(), await pair(), await pair(), await pair()];
  const copy = start();
  const knows = (uid: string, user: string | undefined) => untilSo(async () => (await copy.ask(uid)) === user);
  await knows(kept.uid, kept.user_id);

  const [, , second, added] = await Promise.all([
    unpair(ended.uid),
    forget(forgotten.user_id),
    unpair(given.uid).then(() => pair(given.uid)),
    pair(),
  ]);
  await knows(kept.uid.toUpperCase(), kept.user_id);
  await knows(ended.uid, undefined);
  await knows(forgotten.uid, undefined);
  await knows(given.uid, second.user_id);
  await knows(added.uid, added.user_id);

  // It asks about an instant, and asks again about one that is younger than 10 s.
  const { body } = await service.request('GET', `/v1/links?uid=${added.uid}&cpo_id=${cpo.id}`, {
    token: service.ingestToken,
  });
  expect(await copy.ask(added.uid, body.paired_at)).toBe(added.user_id);
  expect(await copy.ask(added.uid, '2026-03-01T10:00:00Z')).toBeUndefined();
  const soon = `S-${randomUUID()}`;
  const answer = copy.ask(soon, new Date(Date.now() - 6_000).toISOString());
  const late = await pair(soon);
  await service.sql.query(`update pairings set paired_at = paired_at - interval '1 minute' where station_uid = $1`, [
    soon.toLowerCase(),
  ]);
  expect(await answer).toBe(late.user_id);
  expect(await copy.stop()).toBe(0);
});

test('the program of the guide starts anew when the feed restarts, and when its position is no longer kept', async () => {
  const copy = start();
  const first = await pair();
  await untilSo(async () => (await copy.ask(first.uid)) === first.user_id);

  /** Stores a link of which no event tells, so that only a snapshot has it. */
  const storeSilently = async () => {
    const uid = randomUUID();
    await service.sql.query(
      `with p as (
         insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id)
         values (gen_random_uuid(), $1, $2, $2, 'home') returning *
       ) insert into stations (pairing_id, uid, payload_protocol) select id, station_uid, 'ocpp1.6' from p`,
      [cpo.id, uid],
    );
    return uid;
  };
  const lost = [
    `update event_feed set database_identity = 'another'`,
    'update event_feed set last_position = last_position + 10, deleted_position = last_position + 10',
  ];
  for (const sql of lost) {
    const uid = await storeSilently();
    expect(await copy.ask(uid)).toBeUndefined();
    await service.sql.query(sql);
    // The next event wakes the program.
    const next = await pair();
    await untilSo(async () => (await copy.ask(next.uid)) === next.user_id);
    expect(await copy.ask(uid)).toBe(uid);
    expect(await copy.ask(first.uid)).toBe(first.user_id);
  }
  expect(await copy.stop()).toBe(0);
});

test('the tests that the guide names exist', () => {
  const named = [...guide.matchAll(/\| `(tests\/[^`]+)`: ([^|]+) \|$/gm)];
  expect(named.length).toBeGreaterThan(8);
  for (const [, file = '', name = ''] of named) {
    expect(existsSync(projectFile(file))).toBe(true);
    expect(readFileSync(projectFile(file), 'utf8')).toContain(name);
  }
});
