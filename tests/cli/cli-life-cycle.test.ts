import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import type { Context } from '../../src/context';
import { setOutbound } from '../../src/cpos/cpos';
import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { openSandbox } from '../../src/sandbox/start';
import { command } from '../harness/a-command';
import { aStation, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const scsp = (...args: string[]) => command({ DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' }, args);

async function json(...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await scsp(...args, '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

/** Rows of cells, which stand at least two spaces apart. */
async function text(...args: string[]): Promise<string[][]> {
  const { code, stdout, stderr } = await scsp(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));
}

const refusal = (reason: string) => ({ code: 1, stdout: '', stderr: `scsp: ${reason}\n` });
const addCpo = (): Promise<{ id: string; name: string }> => json('cpo', 'add', `CPO ${randomUUID()}`);
const hoursFromNow = (time: string) => (Date.parse(time) - Date.now()) / 3_600_000;

describe('scsp token rotate', () => {
  test('tells a program the new token and until when each works', async () => {
    const cpo = await addCpo();
    const old = await json('token', 'issue', '--cpo', cpo.id);
    const rotated = await json('token', 'rotate', old.id);
    expect(rotated).toEqual({
      id: expect.stringMatching(UUID),
      token: expect.stringMatching(/^scsp_cpo_[\w-]{43}$/),
      expires_at: expect.stringMatching(RFC_3339),
      replaces: old.id,
      old_expires_at: expect.stringMatching(RFC_3339),
    });
    expect(hoursFromNow(rotated.old_expires_at)).toBeCloseTo(24, 1);
    expect(hoursFromNow((await json('token', 'rotate', rotated.id, '--overlap', '168')).old_expires_at)).toBeCloseTo(
      168,
      1,
    );
    const listed = (await json('token', 'list')).filter(({ cpo_id }: any) => cpo_id === cpo.id);
    expect(listed.map(({ id, replaces }: any) => [id, replaces])).toEqual([
      [old.id, undefined],
      [rotated.id, old.id],
      [expect.stringMatching(UUID), rotated.id],
    ]);
  });

  test('shows a person the new token once and says so', async () => {
    const { id } = await json('token', 'issue', '--app', `app ${randomUUID()}`);
    expect(await text('token', 'rotate', id)).toEqual([
      ['id', expect.stringMatching(UUID)],
      ['token', expect.stringMatching(/^scsp_app_[\w-]{43}$/)],
      ['expires at', expect.stringMatching(RFC_3339)],
      ['replaces', id],
      ['old expires at', expect.stringMatching(RFC_3339)],
      [''],
      ['Store the token now: it is not shown again.'],
    ]);
  });

  test('refuses one that is revoked, has expired or is unknown, and an overlap that is none', async () => {
    const { id } = await json('token', 'issue', '--app', 'app');
    await json('token', 'revoke', id);
    expect(await scsp('token', 'rotate', id)).toEqual(
      refusal(`the token ${id} is revoked or has expired: issue a new one`),
    );
    const expired = await json('token', 'issue', '--app', 'app');
    await json('token', 'rotate', expired.id, '--overlap', '0');
    expect(await scsp('token', 'rotate', expired.id)).toEqual(
      refusal(`the token ${expired.id} is revoked or has expired: issue a new one`),
    );
    for (const unknown of [randomUUID(), 'no-such-token'])
      expect(await scsp('token', 'rotate', unknown)).toEqual(refusal(`no token has the id ${unknown}`));
    for (const overlap of ['-1', '1.5', 'a day', '8761'])
      expect(await scsp('token', 'rotate', id, '--overlap', overlap)).toMatchObject({ code: 2, stdout: '' });
    expect((await scsp('token', 'rotate')).code).toBe(2);
  });
});

describe('scsp token revoke', () => {
  test('also revokes what was rotated from the token, and says so', async () => {
    const [first, second] = [
      await json('token', 'issue', '--app', 'app'),
      await json('token', 'issue', '--app', 'app'),
    ];
    const rotated = await json('token', 'rotate', first.id);
    const again = await json('token', 'rotate', rotated.id);
    expect(await json('token', 'revoke', first.id)).toEqual({
      id: first.id,
      revoked_at: expect.stringMatching(RFC_3339),
      also_revoked: [rotated.id, again.id],
    });
    expect((await scsp('token', 'rotate', again.id)).code).toBe(1);
    const { id } = await json('token', 'rotate', second.id);
    expect(await text('token', 'revoke', second.id)).toEqual([
      ['id', second.id],
      ['revoked at', expect.stringMatching(RFC_3339)],
      ['also revoked', id],
      [''],
      ['Also revoked 1 token that was rotated from it. The owner needs a new token.'],
    ]);
  });

  test('keeps what was rotated from the token if it is told to', async () => {
    const { id } = await json('token', 'issue', '--app', 'app');
    const rotated = await json('token', 'rotate', id);
    expect(await json('token', 'revoke', id, '--only')).toEqual({ id, revoked_at: expect.stringMatching(RFC_3339) });
    expect((await scsp('token', 'rotate', rotated.id)).code).toBe(0);
  });
});

test.each(['revoke', 'rotate'])('scsp token %s does not repeat a token that was typed for its id', async (verb) => {
  for (const token of [service.appToken, `scsp_cpo_${'x'.repeat(43)}`]) {
    const { code, stdout, stderr } = await scsp('token', verb, token);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('scsp token list');
    expect(stderr).not.toContain(token);
  }
});

test('scsp token list shows when each was last used', async () => {
  const replica = await startHarness({ SANDBOX: 'true' }, { databaseUrl: service.databaseUrl });
  const { id, token } = await json('token', 'issue', '--cpo', (await addCpo()).id);
  expect((await replica.request('GET', '/v1/scsp/me', { token })).status).toBe(200);
  await replica.stop();
  const listed = (await json('token', 'list')).find((one: { id: string }) => one.id === id);
  expect(listed.last_used_at).toMatch(RFC_3339);
  const [heading, ...rows] = await text('token', 'list');
  expect(heading?.at(-1)).toBe('LAST USED AT');
  expect(rows.find(([first]) => first === id)?.at(-1)).toBe(listed.last_used_at);
});

describe('the trail', () => {
  const trail = async (subject: string) =>
    (await json('audit', 'list', '--limit', '1000'))
      .filter(({ subject_id }: any) => subject_id === subject)
      .toReversed();
  const said = (entries: any[]) => entries.map(({ action, detail }) => [action, detail]);

  test('has each change of a CPO, by whom, and none that changed nothing', async () => {
    const { id, name } = await addCpo();
    for (const verb of ['resume', 'suspend', 'suspend', 'resume', 'resume', 'suspend']) await json('cpo', verb, id);
    expect((await scsp('cpo', 'add', name)).code).toBe(1);
    expect((await scsp('cpo', 'suspend', randomUUID())).code).toBe(1);
    const entries = await trail(id);
    expect(said(entries)).toEqual([
      ['cpo.add', { name }],
      ['cpo.suspend', { name }],
      ['cpo.resume', { name }],
      ['cpo.suspend', { name }],
    ]);
    for (const entry of entries)
      expect(entry).toMatchObject({
        id: expect.stringMatching(UUID),
        happened_at: expect.stringMatching(RFC_3339),
        actor: userInfo().username,
      });
  });

  test('has one suspension of many at the same time', async () => {
    const { id, name } = await addCpo();
    const answers = await Promise.all(Array.from({ length: 5 }, () => json('cpo', 'suspend', id)));
    expect(new Set(answers.map(({ suspended_at }) => suspended_at)).size).toBe(1);
    expect(said(await trail(id))).toEqual([
      ['cpo.add', { name }],
      ['cpo.suspend', { name }],
    ]);
  });

  test('has each change of a token, and none that changed nothing', async () => {
    const { id: cpo_id } = await addCpo();
    const old = await json('token', 'issue', '--cpo', cpo_id);
    const { id: replaced_by } = await json('token', 'rotate', old.id);
    await Promise.all([1, 2, 3].map(() => json('token', 'revoke', old.id)));
    await json('token', 'revoke', old.id);
    expect((await scsp('token', 'rotate', old.id)).code).toBe(1);
    expect((await scsp('token', 'issue', '--cpo', randomUUID())).code).toBe(1);
    expect(said(await trail(old.id))).toEqual([
      ['token.issue', { role: 'cpo', cpo_id }],
      ['token.rotate', { role: 'cpo', cpo_id, replaced_by }],
      ['token.revoke', { role: 'cpo', cpo_id }],
    ]);
    const app = await json('token', 'issue', '--app', 'the app');
    expect(said(await trail(app.id))).toEqual([['token.issue', { role: 'app', app: 'the app' }]]);
  });

  test('has a change of a CPO’s address, and a retry of a notification', async () => {
    const cpo = await service.cpo();
    const base_url = 'http://127.0.0.1:1';
    const operator = { ...service.operator, keys: deriveKeys(SECRET_KEY) };
    await setOutbound(operator, cpo.id, { baseUrl: base_url, outboundToken: 'open-sesame' });
    expect(said(await trail(cpo.id)).at(-1)).toEqual([
      'cpo.calling',
      { name: cpo.name, base_url, outbound_token: 'set' },
    ]);

    const station = aStation();
    expect((await service.pair(cpo, (await service.code()).code, station)).status).toBe(200);
    expect((await service.unpairAsApp(station.uid)).status).toBe(200);
    const [{ id }] = await json('outbox', 'list');
    await json('outbox', 'retry', id);
    expect((await scsp('outbox', 'retry', randomUUID())).code).toBe(1);
    expect(said(await trail(id))).toEqual([['outbox.retry', { cpo_id: cpo.id }]]);
  });

  test('says what the sandbox has made', async () => {
    const { config, db, log } = service;
    const ctx = { config, db, random, keys: deriveKeys(SECRET_KEY), log: log.log } as Context;
    const { cpo, credentials } = await openSandbox(ctx, service.url);
    await cpo.stop();
    const made = (await json('audit', 'list')).filter(({ actor }: any) => actor === 'sandbox').toReversed();
    expect(made.map(({ action }: any) => action)).toEqual([
      'cpo.add',
      'token.issue',
      'token.issue',
      'token.issue',
      'cpo.calling',
    ]);
    expect(made[0].subject_id).toBe(credentials.cpo.id);
  });

  test('has no secret in it', async () => {
    const secrets = ['scsp_cpo_', 'scsp_app_', 'open-sesame', SECRET_KEY];
    const { rows } = await service.sql.query('select a::text as row from audit a');
    expect(rows.length).toBeGreaterThan(10);
    for (const { row } of rows) for (const secret of secrets) expect(row).not.toContain(secret);
  });

  test('is committed with the change: without it there is no change either', async () => {
    const { id } = await addCpo();
    await service.sql.query('alter table audit add constraint audit_nothing_check check (false) not valid');
    const refused = await scsp('cpo', 'suspend', id);
    await service.sql.query('alter table audit drop constraint audit_nothing_check');
    expect(refused.code).toBe(1);
    const listed = (await json('cpo', 'list')).find((cpo: { id: string }) => cpo.id === id);
    expect(listed).not.toHaveProperty('suspended_at');
  });

  test.each([`update audit set actor = 'nobody'`, 'delete from audit', 'truncate audit'])(
    'cannot be changed: %s',
    async (statement) => {
      await expect(service.sql.query(statement)).rejects.toThrow('the table audit is append-only');
    },
  );

  test('is shown to a person in columns, the latest first, as much as wanted', async () => {
    const { id, name } = await addCpo();
    const [heading, ...rows] = await text('audit', 'list', '--limit', '2');
    expect(heading).toEqual(['HAPPENED AT', 'ACTOR', 'ACTION', 'SUBJECT ID', 'DETAIL']);
    expect(rows).toHaveLength(2);
    expect(rows[0]).toEqual([
      expect.stringMatching(RFC_3339),
      userInfo().username,
      'cpo.add',
      id,
      JSON.stringify({ name }),
    ]);
  });
});

describe('scsp attempts list', () => {
  const wrong = async (cpo: { id: string; name: string; token: string }, uid: string) =>
    expect((await service.pair(cpo, '000000', aStation(uid))).status).toBe(404);

  test('shows what all CPOs, or one, have tried, the latest first', async () => {
    const [one, other] = [await service.cpo(), await service.cpo()];
    for (const [cpo, uid] of [
      [one, 'a'],
      [other, 'b'],
      [one, 'c'],
    ] as const)
      await wrong(cpo, uid);
    const all = await json('attempts', 'list', '--limit', '3');
    expect(all.map(({ cpo_id, uid }: any) => [cpo_id, uid])).toEqual([
      [one.id, 'c'],
      [other.id, 'b'],
      [one.id, 'a'],
    ]);
    expect(all[0]).toEqual({
      id: expect.stringMatching(UUID),
      cpo_id: one.id,
      attempted_at: expect.stringMatching(RFC_3339),
      request_id: expect.any(String),
      payload_protocol: 'ocpp2.0.1',
      uid: 'c',
      outcome: 'incorrect-code',
      status: 404,
      reason: 'unknown',
    });
    expect(await json('attempts', 'list', '--cpo', one.id)).toEqual([all[0], all[2]]);
    expect(await json('attempts', 'list', '--cpo', one.id, '--limit', '1')).toEqual([all[0]]);
    expect(await json('attempts', 'list', '--cpo', (await addCpo()).id)).toEqual([]);
    for (const id of [randomUUID(), 'no-such-cpo'])
      expect(await scsp('attempts', 'list', '--cpo', id)).toEqual(refusal(`no CPO has the id or name ${id}`));
  });

  test('shows a person each on a line, whatever a CPO has sent', async () => {
    const cpo = await service.cpo();
    const body = { code: '1', charging_station: { ...aStation(), uid: '\u001b[2J\nuid' } };
    expect((await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: cpo.token, body })).status).toBe(400);
    await untilSo(async () => (await json('attempts', 'list', '--cpo', cpo.id)).length > 0);
    // Such a uid is not stored any more; a previous version did.
    await service.sql.query('update attempts set uid = $2 where cpo_id = $1', [cpo.id, body.charging_station.uid]);
    const [heading, ...rows] = await text('attempts', 'list', '--cpo', cpo.id);
    expect(heading).toEqual([
      'ATTEMPTED AT',
      'CPO ID',
      'PAYLOAD PROTOCOL',
      'UID',
      'STATUS',
      'OUTCOME',
      'REASON',
      'REQUEST ID',
      'DETAIL',
    ]);
    expect(rows).toEqual([
      [
        expect.stringMatching(RFC_3339),
        cpo.id,
        'ocpp2.0.1',
        '\ufffd[2J\ufffduid',
        '400',
        'invalid-request',
        '-',
        expect.any(String),
        expect.stringContaining('/charging_station/uid must contain only printable'),
      ],
    ]);
  });
});

test('the new commands help, with examples, and refuse what is no limit', async () => {
  for (const args of [
    ['token', 'rotate'],
    ['audit', 'list'],
    ['attempts', 'list'],
  ]) {
    const { code, stdout } = await scsp(...args, '--help');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^Usage: scsp .*\nExamples:\n {2}\$ scsp /s)]);
  }
  for (const noun of ['audit', 'attempts'])
    for (const limit of ['0', 'many', '1000001']) expect((await scsp(noun, 'list', '--limit', limit)).code).toBe(2);
});
