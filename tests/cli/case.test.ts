import { randomUUID } from 'node:crypto';
import { ATTEMPTS_OF_UIDS } from '../../src/cases/case';
import { rowsInIndexOrder } from '../../src/db/query';
import { command } from '../harness/a-command';
import { sendJson, startCpo } from '../harness/a-cpo';
import { startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import {
  anIncorrectCode,
  aStation,
  type Harness,
  NO_LIMITS,
  SECRET_KEY,
  startHarness,
  type TestCpo,
} from '../harness/harness';
import { leaks } from '../harness/leaks';
import { untilSo } from '../harness/until';

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', ...NO_LIMITS });
  cpo = await service.cpo('Station Works');
});
afterAll(() => service.stop());

const scsp = (...args: string[]) =>
  command({ DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' }, ['case', ...args]);
async function caseOf(...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await scsp(...args, '--json');
  expect([code, stderr]).toEqual([0, '']);
  expect(leaks(stdout, service.secrets)).toEqual([]);
  return JSON.parse(stdout);
}
const whats = ({ timeline }: any): string[] => timeline.map(({ what }: any) => what);
const uidOf = () => `S-${randomUUID()}`;
/** Makes a code as old as one that has expired. */
async function expire(id: string) {
  await service.sql.query(
    `update pairing_codes set created_at = created_at - interval '1 hour', expires_at = now() - interval '1 minute' where id = $1`,
    [id],
  );
  await untilSo(async () => (await service.followCode(id)).body.status === 'expired');
}

describe('the customer says that the code does not work', () => {
  test('a code that nobody sent', async () => {
    const user_id = randomUUID();
    const code = await service.code({ user_id });
    await expire(code.id);
    const found = await caseOf('--user', user_id);
    expect(found.explanation).toMatch(
      new RegExp(
        `^Code ${code.id} expired at .*Z. No attempt with it was recorded: the CPO never sent it while it was valid.`,
      ),
    );
    expect(whats(found).slice(0, 2)).toEqual(['code issued', 'code expired']);
    expect(found.now).toBe('no active code, no paired station');
  });

  test('a code that was sent after it had expired is found by its user, with the attempt', async () => {
    const [user_id, uid] = [randomUUID(), uidOf()];
    const code = await service.code({ user_id });
    await expire(code.id);
    expect((await service.pair(cpo, code.code, aStation(uid))).status).toBe(404);
    for (const found of [await caseOf('--user', user_id), await caseOf('--code-id', code.id)]) {
      expect(found.explanation).toContain(`for station ${uid}, after it had expired.`);
      expect(found.timeline.find(({ what }: any) => what.startsWith('attempt'))).toMatchObject({
        ...{ what: 'attempt: incorrect-code (expired)', cpo: cpo.name, uid, code_id: code.id },
      });
    }
    const station = await caseOf('--uid', uid.toLowerCase());
    expect(station.explanation).toContain(`code ${code.id} was incorrect (expired)`);
    expect(whats(station)).toContain('code expired');
  });

  test('a code for another CPO, and one that a newer code replaced', async () => {
    const [other, user_id] = [await service.cpo(), randomUUID()];
    const bound = await service.code({ user_id, cpo_id: other.id });
    expect((await service.pair(cpo, bound.code, aStation())).status).toBe(404);
    expect((await caseOf('--user', user_id)).explanation).toContain(`but only ${other.name} can use it`);
    const [owner, uid] = [randomUUID(), uidOf()];
    const [first, second] = [await service.code({ user_id: owner }), await service.code({ user_id: owner })];
    expect((await service.pair(cpo, first.code, aStation(uid))).status).toBe(404);
    const found = await caseOf('--code-id', first.id);
    expect(found.explanation).toContain(`because code ${second.id} replaced it. Station Works sent it at`);
    expect(found.explanation).toContain('after it had been cancelled');
  });

  test('a code whose station was already paired', async () => {
    const uid = uidOf();
    expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
    const user_id = randomUUID();
    const code = await service.code({ user_id });
    expect((await service.pair(cpo, code.code, aStation(uid))).status).toBe(409);
    expect((await caseOf('--user', user_id)).explanation).toContain('for a station that was already paired');
  });

  test('codes that were never issued are counted, and no customer is guessed', async () => {
    const [bound, user_id] = [await service.cpo(), randomUUID()];
    const code = await service.code({ user_id, cpo_id: bound.id });
    for (let i = 0; i < 2; i++) expect((await service.pair(bound, anIncorrectCode())).status).toBe(404);
    const found = await caseOf('--user', user_id);
    expect(found.explanation).toBe(
      `Code ${code.id} is valid until ${code.expires_at}. No CPO has sent it yet. While it was valid, ${bound.name} sent 2 codes that were never issued: it may have been mistyped, which cannot be told.`,
    );
    expect(whats(found)).toEqual(['code issued']);
    // Ids of the millisecond in which the code was issued.
    await service.sql.query(
      `insert into attempts (id, cpo_id, request_id, payload_protocol, outcome, reason)
       select (left($1, 24) || lpad(to_hex(n), 12, '0'))::uuid, $2, 'r', 'ocpp2.0.1', 'incorrect-code', 'unknown'
       from generate_series(1, 10000) n`,
      [code.id, bound.id],
    );
    expect((await caseOf('--user', user_id)).explanation).toContain(
      `No attempt with it was recorded. While it was valid, ${bound.name} sent at least 10000 codes that were never issued`,
    );
  });

  test('a code that may have been in a request that was refused before any code was looked up', async () => {
    const [bound, user_id] = [await service.cpo(), randomUUID()];
    const code = await service.code({ user_id, cpo_id: bound.id });
    const body = { code: code.code };
    const answer = await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: bound.token, body });
    expect(answer.status).toBe(400);
    await untilSo(
      async () => (await service.sql.query('select from attempts where cpo_id = $1', [bound.id])).rowCount === 1,
    );
    const inOne = `No attempt with it was recorded. Requests of ${bound.name} that were refused before their code was looked up while it was valid: 1. It may have been in one of them.`;
    const explained = async () => (await caseOf('--user', user_id)).explanation;
    expect(await explained()).toBe(`Code ${code.id} is valid until ${code.expires_at}. ${inOne}`);
    await expire(code.id);
    // `expire` makes the attempt younger than the code was valid.
    await service.sql.query(
      `update attempts set attempted_at = attempted_at - interval '2 minutes' where cpo_id = $1`,
      [bound.id],
    );
    expect(await explained()).toMatch(new RegExp(` expired at .*Z. ${inOne}$`));
  });
});

test('the whole story of a pairing is told by user, uid and code, the oldest first', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  const endpoint = await app.endpoint({ url: receiver.url, types: ['station.paired'] });
  const [user_id, uid] = [randomUUID(), uidOf()];
  const called = await startCpo(service, (res) => sendJson(res, 503, {}));
  const code = await service.code({ user_id });
  expect((await service.pair(called, code.code, aStation(uid))).status).toBe(200);
  await receiver.got(1);
  await endpoint.settled();
  expect((await service.unpairAsApp(uid)).status).toBe(200);
  await called.asked(1);
  await untilSo(
    async () => (await service.sql.query('select from outbox where last_error is not null')).rowCount === 1,
  );
  await untilSo(
    async () => (await service.sql.query('select from calls where cpo_id = $1', [called.id])).rowCount !== 0,
  );

  for (const key of [
    ['--user', user_id],
    ['--uid', uid],
    ['--code-id', code.id],
  ]) {
    const found = await caseOf(...key);
    const told = whats(found);
    for (const what of [
      'code issued',
      'code used',
      'attempt: paired',
      'paired',
      'event station.paired',
      'webhook delivered: station.paired',
      'unpaired by the app',
      'event station.unpaired',
      'notification of the CPO waits',
      'call at that time',
    ])
      expect(told).toContain(what);
    const times = found.timeline.map(({ at }: any) => at);
    expect(times).toEqual([...times].sort());
    expect(found.explanation).toMatch(/paired station .* the app unpaired it at/);
  }
  const { code: exit, stdout } = await scsp('--user', user_id);
  expect(exit).toBe(0);
  expect(stdout).toMatch(/^about +--user .*\nfound +1 codes, 1 pairings, 1 attempts/);
  await called.down();
});

test('a request is found by its id: an attempt with what it did, or a call', async () => {
  const uid = uidOf();
  const { code, id } = await service.code();
  const answer = await service.pair(cpo, code, aStation(uid));
  const requestId = answer.headers.get('X-Request-ID') ?? '';
  const found = await caseOf('--request', requestId);
  expect(whats(found)).toEqual(expect.arrayContaining(['code issued', 'attempt: paired', 'paired']));
  expect(found.explanation).toContain(`for station ${uid}: it was paired.`);
  expect(found.timeline.some(({ code_id }: any) => code_id === id)).toBe(true);
});

test('at most 100 entries of a kind are shown, and what was left out is said', async () => {
  const user_id = randomUUID();
  await service.sql.query(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, status, ended_at, expires_at)
     select gen_random_uuid(), sha256(n::text::bytea), 6, $1, 'home', 'expired', now(), now() from generate_series(1, 101) n`,
    [user_id],
  );
  const found = await caseOf('--user', user_id);
  expect([found.found.split(',')[0], found.left_out]).toEqual(['100 codes', 'the oldest codes, beyond 100 of a kind']);
});

test('of what is active now, the first five are named, and the rest is counted', async () => {
  const user_id = randomUUID();
  for (let n = 0; n < 6; n++) await service.code({ user_id, charging_location_id: `home ${n}` });
  expect((await caseOf('--user', user_id)).now).toMatch(/^(code \S+ valid until \S+Z(, )?){5} and 1 more$/);
});

test('of a million attempts with a uid, only the newest are read', async () => {
  const other = await service.cpo();
  await service.sql.query(
    `insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome)
     select gen_random_uuid(), id, 'r', 'ocpp2.0.1', 'Busy', 'station-already-paired'
     from unnest(array[$1, $2]::uuid[]) id, generate_series(1, 2000)`,
    [cpo.id, other.id],
  );
  const sql = `explain (analyze, format json) ${ATTEMPTS_OF_UIDS}`;
  const [{ 'QUERY PLAN': plan }] = await rowsInIndexOrder<any>(service.db, sql, [['busy']]);
  // 101 of each CPO; the plan counts whole rows per loop.
  expect(rowsRead(plan[0].Plan)).toBeLessThan(300);
  const found = await caseOf('--uid', 'BUSY');
  expect([found.timeline.length, found.left_out]).toEqual([100, 'the oldest attempts, beyond 100 of a kind']);
});

/** Returns how many attempts a plan read from the table. */
function rowsRead(node: any): number {
  const own = node['Relation Name'] === 'attempts' ? node['Actual Rows'] * node['Actual Loops'] : 0;
  return (node.Plans ?? []).reduce((sum: number, child: any) => sum + rowsRead(child), own);
}

test.each(['--uid', '--code-id'])('%s that nothing can have is refused', async (option) => {
  const what = option === '--uid' ? 'the uid of a station' : 'the id of a code';
  // Its first character is the sign of the unit kelvin, which JavaScript lower-cases to an ASCII letter and PostgreSQL does not.
  expect(await scsp(option, '\u212a-1')).toEqual({ code: 1, stdout: '', stderr: `scsp: ${option} must be ${what}\n` });
});

test.each([[[]], [['--user', 'u', '--uid', 'S-1']]])('exactly one key is taken: %j', async (args) => {
  const stderr = 'error: exactly one of --user, --uid, --request, --code-id is required\n';
  expect(await scsp(...args)).toEqual({ code: 2, stdout: '', stderr });
});

test.each(['--user', '--uid', '--request', '--code-id'])('%s of which nothing is stored is refused', async (option) => {
  const id = randomUUID();
  expect(await scsp(option, id)).toEqual({
    code: 1,
    stdout: '',
    stderr: `scsp: nothing is stored about ${option} ${id}\n`,
  });
});

test('a station of a forgotten user is not found any more', async () => {
  const [user_id, uid] = [randomUUID(), uidOf()];
  expect((await service.pair(cpo, (await service.code({ user_id })).code, aStation(uid))).status).toBe(200);
  await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
  expect((await scsp('--uid', uid)).code).toBe(1);
});
