import { randomUUID } from 'node:crypto';
import { commandsOf, RFC_3339, refusal, UUID } from '../harness/a-command';
import { type Harness, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { addCpo, json, scsp, text } = commandsOf(() => service);
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
