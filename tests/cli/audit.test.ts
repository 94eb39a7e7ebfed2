import { randomUUID } from 'node:crypto';
import type { Context } from '../../src/context';
import { setOutbound } from '../../src/cpos/cpos';
import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { openSandbox } from '../../src/sandbox/start';
import { ACTOR, type AuditEntry, commandsOf, RFC_3339, UUID } from '../harness/a-command';
import { aStation, type Harness, SECRET_KEY, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { addCpo, audited, json, scsp, text } = commandsOf(() => service);

describe('the audit log', () => {
  const said = (entries: AuditEntry[]) => entries.map(({ action, detail }) => [action, detail]);

  test('has each change of a CPO, by whom, and none that changed nothing', async () => {
    const { id, name } = await addCpo();
    for (const verb of ['resume', 'suspend', 'suspend', 'resume', 'resume', 'suspend']) await json('cpo', verb, id);
    expect((await scsp('cpo', 'add', name)).code).toBe(1);
    expect((await scsp('cpo', 'suspend', randomUUID())).code).toBe(1);
    const entries = await audited(id);
    expect(said(entries)).toEqual([
      ['cpo.add', { name }],
      ['cpo.suspend', { name }],
      ['cpo.resume', { name }],
      ['cpo.suspend', { name }],
    ]);
    for (const { actor } of entries) expect(actor).toBe(ACTOR);
    const listed = (await json('audit', 'list')).filter((entry: { subject_id: string }) => entry.subject_id === id);
    expect(listed).toHaveLength(entries.length);
    for (const entry of listed)
      expect(entry).toMatchObject({ id: expect.stringMatching(UUID), happened_at: expect.stringMatching(RFC_3339) });
  });

  test('has one suspension of many at the same time', async () => {
    const { id, name } = await addCpo();
    const answers = await Promise.all(Array.from({ length: 5 }, () => json('cpo', 'suspend', id)));
    expect(new Set(answers.map(({ suspended_at }) => suspended_at)).size).toBe(1);
    expect(said(await audited(id))).toEqual([
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
    expect(said(await audited(old.id))).toEqual([
      ['token.issue', { role: 'cpo', cpo_id }],
      ['token.rotate', { role: 'cpo', cpo_id, replaced_by }],
      ['token.revoke', { role: 'cpo', cpo_id }],
    ]);
    const app = await json('token', 'issue', '--app', 'the app');
    expect(said(await audited(app.id))).toEqual([['token.issue', { role: 'app', app: 'the app' }]]);
  });

  test('has a change of a CPO’s address, and a retry of a notification', async () => {
    const cpo = await service.cpo();
    const base_url = 'http://127.0.0.1:1';
    const operator = { ...service.operator, keys: deriveKeys(SECRET_KEY) };
    await setOutbound(operator, cpo.id, { baseUrl: base_url, outboundToken: 'open-sesame' });
    expect(said(await audited(cpo.id)).at(-1)).toEqual([
      'cpo.calling',
      { name: cpo.name, base_url, outbound_token: 'set' },
    ]);

    const station = aStation();
    expect((await service.pair(cpo, (await service.code()).code, station)).status).toBe(200);
    expect((await service.unpairAsApp(station.uid)).status).toBe(200);
    const [{ id }] = await json('outbox', 'list');
    await json('outbox', 'retry', id);
    expect((await scsp('outbox', 'retry', randomUUID())).code).toBe(1);
    expect(said(await audited(id))).toEqual([['outbox.retry', { cpo_id: cpo.id }]]);
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
    expect(rows[0]).toEqual([expect.stringMatching(RFC_3339), ACTOR, 'cpo.add', id, JSON.stringify({ name })]);
  });
});
