import { ACTOR, commandsOf, refusal, wrongUsage } from '../harness/a-command';
import { anIncorrectCode, type Harness, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { audited, json, scsp } = commandsOf(() => service);

describe('scsp cpo limits', () => {
  const wrong = async (cpo: TestCpo) => (await service.pair(cpo, anIncorrectCode())).status;
  const exhaust = async (cpo: TestCpo) => {
    for (let i = 0; i < 20; i++) expect(await wrong(cpo)).toBe(404);
    expect(await wrong(cpo)).toBe(429);
  };
  const left = (rows: { name: string; left: number; limit: number }[]) =>
    Object.fromEntries(rows.map(({ name, left, limit }) => [name, `${left} of ${limit}`]));

  test('shows what is left of each limit', async () => {
    const cpo = await service.cpo();
    await wrong(cpo);
    expect(await json('cpo', 'limits', cpo.name)).toEqual([
      { name: 'incorrect-codes-uid-10min', limit: 5, left: 4, window_seconds: 600, setting: 'LIMIT_CPO_UID_10MIN' },
      { name: 'incorrect-codes-uid-24h', limit: 10, left: 9, window_seconds: 86400, setting: 'LIMIT_CPO_UID_24H' },
      { name: 'incorrect-codes-cpo-10min', limit: 20, left: 19, window_seconds: 600, setting: 'LIMIT_CPO_10MIN' },
      { name: 'incorrect-codes-cpo-24h', limit: 50, left: 49, window_seconds: 86400, setting: 'LIMIT_CPO_24H' },
    ]);
  });

  test('--reset forgets what one CPO has sent, at once, and says who did it', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    await exhaust(cpo);
    await wrong(other);
    const after = await json('cpo', 'limits', cpo.id, '--reset');
    expect(left(after)).toMatchObject({
      'incorrect-codes-cpo-10min': '20 of 20',
      'incorrect-codes-cpo-24h': '50 of 50',
    });
    expect(await wrong(cpo)).toBe(404);
    expect(left(await json('cpo', 'limits', other.id))).toMatchObject({ 'incorrect-codes-cpo-24h': '49 of 50' });
    expect(await audited(cpo.id)).toContainEqual({
      actor: ACTOR,
      action: 'cpo.limits-reset',
      detail: { failed_attempts: 20 },
    });
  });

  test('--set raises limits of one CPO, and takes them back to those of the settings', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    await exhaust(cpo);
    const raised = await json('cpo', 'limits', cpo.id, '--set', 'LIMIT_CPO_10MIN=22', '--set', 'limit_cpo_24h=100');
    expect(left(raised)).toMatchObject({
      'incorrect-codes-cpo-10min': '2 of 22',
      'incorrect-codes-cpo-24h': '80 of 100',
    });
    expect(raised[2]).toMatchObject({ setting: 'LIMIT_CPO_10MIN', set_to: 22 });
    expect([await wrong(cpo), await wrong(cpo), await wrong(cpo)]).toEqual([404, 404, 429]);
    expect(left(await json('cpo', 'limits', other.id))).toMatchObject({ 'incorrect-codes-cpo-10min': '20 of 20' });
    const { body } = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
    expect(body.limits[2]).toMatchObject({ name: 'incorrect-codes-cpo-10min', limit: 22, left: 0 });
    const back = await json('cpo', 'limits', cpo.id, '--set', 'LIMIT_CPO_10MIN=default');
    expect(left(back)).toMatchObject({
      'incorrect-codes-cpo-10min': '0 of 20',
      'incorrect-codes-cpo-24h': '78 of 100',
    });
    expect(back[2]).not.toHaveProperty('set_to');
    expect((await audited(cpo.id)).slice(1).map(({ action, detail }) => [action, detail])).toEqual([
      ['cpo.limits', { LIMIT_CPO_10MIN: 22 }],
      ['cpo.limits', { LIMIT_CPO_24H: 100 }],
      ['cpo.limits', { LIMIT_CPO_10MIN: null }],
    ]);
  });

  test('refuses what is no limit or no number', async () => {
    const cpo = await service.cpo();
    for (const [set, words] of [
      ['LIMIT_X=1', 'Unknown limit "LIMIT_X". Known: LIMIT_CPO_UID_10MIN, LIMIT_CPO_UID_24H, LIMIT_CPO_10MIN'],
      ['LIMIT_CPO_24H=0', 'It must be a whole number from 1 to 1000000.'],
      ['LIMIT_CPO_24H', 'It must be a whole number'],
    ] as const)
      expect(await scsp('cpo', 'limits', cpo.id, '--set', set)).toEqual(wrongUsage(words));
    expect(await scsp('cpo', 'limits', 'nobody')).toEqual(refusal('no CPO has the id or name nobody'));
  });
});
