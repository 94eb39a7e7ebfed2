import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command, commandsOf, RFC_3339, refusal, UUID } from '../harness/a-command';
import { type Harness, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { json, scsp, text } = commandsOf(() => service);

describe('scsp code', () => {
  test('a code that the CLI issues pairs a station over HTTP', async () => {
    const user = randomUUID();
    const issued = await json('code', 'issue', '--user', user, '--location', 'home');
    expect(issued).toEqual({
      id: expect.stringMatching(UUID),
      code: expect.stringMatching(/^\d{6}$/),
      status: 'active',
      user_id: user,
      charging_location_id: 'home',
      created_at: expect.stringMatching(RFC_3339),
      expires_at: expect.stringMatching(RFC_3339),
    });
    expect((await service.pair(await service.cpo(), issued.code)).status).toBe(200);
    expect((await service.followCode(issued.id)).body).toMatchObject({ status: 'used', user_id: user });
  });

  test('its answer has the members of the HTTP answer, in the same order', async () => {
    const { id } = await service.cpo();
    const issued = await json('code', 'issue', '--user', randomUUID(), '--location', 'home', '--cpo', id);
    expect(issued.cpo_id).toBe(id);
    expect(Object.keys(issued)).toEqual(Object.keys(await service.code({ cpo_id: id })));
  });

  test('a new code cancels the old one, whether the app or an operator issued it', async () => {
    const user = randomUUID();
    const old = await service.code({ user_id: user, charging_location_id: 'home' });
    await json('code', 'issue', '--user', user, '--location', 'home');
    expect((await service.followCode(old.id)).body.status).toBe('cancelled');
  });

  test('a person sees the code and its life', async () => {
    const { id } = await service.cpo();
    const issued = await text('code', 'issue', '--user', 'user-1', '--location', 'home', '--cpo', id);
    expect(issued.slice(1)).toEqual([
      ['code', expect.stringMatching(/^\d{6}$/)],
      ['status', 'active'],
      ['user id', 'user-1'],
      ['charging location id', 'home'],
      ['cpo id', id],
      ['created at', expect.stringMatching(RFC_3339)],
      ['expires at', expect.stringMatching(RFC_3339)],
    ]);
  });

  test('a user who has been issued ten codes in ten minutes is refused, with the time to wait', async () => {
    const user = randomUUID();
    for (let i = 0; i < 10; i++) expect((await service.code({ user_id: user })).status).toBe('active');
    const refused = await scsp('code', 'issue', '--user', user, '--location', 'home');
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/^scsp: Too many pairing codes were issued for this user, please try again in \d+ s\.\n$/),
    ]);
  });

  test('what is no id is refused, and so is an unknown CPO', async () => {
    const issue = (user: string, location: string, cpo: string = randomUUID()) =>
      scsp('code', 'issue', '--user', user, '--location', location, '--cpo', cpo);
    expect(await issue('', 'home')).toEqual(refusal('--user must have 1 to 128 printable characters'));
    expect(await issue('user', 'x'.repeat(129))).toEqual(refusal('--location must have 1 to 128 printable characters'));
    for (const cpo of [randomUUID(), 'volt'])
      expect(await issue('user', 'home', cpo)).toEqual(refusal(`no CPO has the id or name ${cpo}`));
  });

  test("without the service's SECRET_KEY no code is issued, and no key made that the service does not know", async () => {
    const issue = ['code', 'issue', '--user', 'user-1', '--location', 'home'];
    const DATA_DIR = join(tmpdir(), `scsp-unused-${randomUUID()}`);
    const refused = await command({ DATABASE_URL: service.databaseUrl, SANDBOX: 'true', DATA_DIR }, issue);
    expect(refused).toEqual(refusal('SECRET_KEY must be set to the key of the service'));
    expect(existsSync(DATA_DIR)).toBe(false);
  });
});
