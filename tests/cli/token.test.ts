import { randomUUID } from 'node:crypto';
import { commandsOf, jsonRefusal, RFC_3339, refusal, UUID, wrongUsage } from '../harness/a-command';
import { type Harness, startHarness } from '../harness/harness';
import { untilStatus } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { addCpo, each, json, scsp, text } = commandsOf(() => service);

describe('scsp token', () => {
  test("a CPO's token works against the running service, for a year", async () => {
    const { id } = await addCpo();
    const issued = await json('token', 'issue', '--cpo', id);
    expect(issued).toEqual({
      id: expect.stringMatching(UUID),
      token: expect.stringMatching(/^scsp_cpo_[\w-]{43}$/),
      expires_at: expect.stringMatching(RFC_3339),
    });
    expect((Date.parse(issued.expires_at) - Date.now()) / 86_400_000).toBeCloseTo(365, 0);
    const pair = () => service.pair({ id, name: '', token: issued.token }, '000000');
    expect((await untilStatus(404, pair)).status).toBe(404);
  });

  test("an app's token works against the running service until it is revoked, within a second", async () => {
    const issued = await json('token', 'issue', '--app', `app ${randomUUID()}`);
    const ask = async () =>
      service.request('POST', '/v1/app/pairing-codes', {
        token: issued.token,
        body: { user_id: randomUUID(), charging_location_id: 'home' },
      });
    expect((await untilStatus(201, ask)).status).toBe(201);

    const revoked = await json('token', 'revoke', issued.id);
    expect(revoked).toEqual({ id: issued.id, revoked_at: expect.stringMatching(RFC_3339) });
    expect((await untilStatus(401, ask)).status).toBe(401);
    expect(await json('token', 'revoke', issued.id)).toEqual(revoked);
  });

  test('a person sees a token once, with a note that says so', async () => {
    const app = `app ${randomUUID()}`;
    const issued = await text('token', 'issue', '--app', app);
    expect(issued).toEqual([
      ['id', expect.stringMatching(UUID)],
      ['token', expect.stringMatching(/^scsp_app_[\w-]{43}$/)],
      ['expires at', expect.stringMatching(RFC_3339)],
      [''],
      ['Store the token now: it is not shown again.'],
    ]);
    const lists = (await scsp('token', 'list')).stdout + (await scsp('token', 'list', '--json')).stdout;
    expect(lists).toContain(app);
    expect(lists).not.toContain('scsp_app_');
  });

  test('the list shows whose each token is and whether it is revoked', async () => {
    const cpo = await addCpo();
    const { id } = await json('token', 'issue', '--cpo', cpo.id);
    const [, [, revokedAt] = []] = await text('token', 'revoke', id);
    const listed = (await json('token', 'list')).find((token: { id: string }) => token.id === id);
    expect(listed).toEqual({
      id,
      role: 'cpo',
      cpo_id: cpo.id,
      owner: cpo.name,
      created_at: expect.stringMatching(RFC_3339),
      expires_at: expect.stringMatching(RFC_3339),
      revoked_at: revokedAt,
    });
    const [heading, ...rows] = await text('token', 'list');
    expect(heading).toEqual(['ID', 'ROLE', 'OWNER', 'CREATED AT', 'EXPIRES AT', 'REVOKED AT', 'LAST USED AT']);
    expect(rows).toContainEqual([id, 'cpo', cpo.name, listed.created_at, listed.expires_at, revokedAt, '-']);
  });

  test('there is no token for an unknown CPO, and none to revoke under an unknown id', async () => {
    for (const id of [randomUUID(), 'nobody']) {
      expect(await scsp('token', 'issue', '--cpo', id, '--json')).toEqual(
        jsonRefusal(`no CPO has the id or name ${id}`),
      );
      expect(await scsp('token', 'revoke', id, '--json')).toEqual(jsonRefusal(`no token has the id ${id}`));
    }
  });

  test('a token is for a CPO, an app or an ingest, and for one of them only', async () => {
    expect(await scsp('token', 'issue')).toEqual(wrongUsage('--ingest'));
    const owners = [
      ['--cpo', randomUUID(), '--app', 'app'],
      ['--cpo', randomUUID(), '--ingest', 'pipeline'],
      ['--app', 'app', '--ingest', 'pipeline'],
    ];
    for (const end of await each(owners, (owner) => scsp('token', 'issue', ...owner)))
      expect(end).toEqual(wrongUsage('cannot be used with'));
  });

  test('a token for an ingest is listed and rotated with its role, and revoked', async () => {
    const owner = `pipeline ${randomUUID()}`;
    const issued = await json('token', 'issue', '--ingest', owner);
    expect(issued.token).toMatch(/^scsp_ingest_[\w-]{43}$/);
    const rotated = await json('token', 'rotate', issued.id);
    expect(rotated).toMatchObject({ token: expect.stringMatching(/^scsp_ingest_[\w-]{43}$/), replaces: issued.id });
    await json('token', 'revoke', rotated.id);
    const listed = (await json('token', 'list')).filter((token: { owner: string }) => token.owner === owner);
    expect(listed).toMatchObject([
      { id: issued.id, role: 'ingest' },
      { id: rotated.id, role: 'ingest', revoked_at: expect.stringMatching(RFC_3339) },
    ]);
    expect(await scsp('token', 'revoke', issued.token)).toEqual(
      refusal('expected the id of the token, not the token itself: scsp token list shows the id'),
    );
  });
});
