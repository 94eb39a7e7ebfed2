import { randomUUID } from 'node:crypto';
import { revokeToken } from '../../src/tokens/revoke';
import { issueToken, rotateToken } from '../../src/tokens/tokens';
import { type Harness, startHarness } from '../harness/harness';
import { openRaw } from '../harness/raw-http';
import { until, untilAnswered, untilSo, untilStatus } from '../harness/until';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const sql = async (text: string, parameters: unknown[]) => (await service.sql.query(text, parameters)).rows;
const tokensOf = (cpo: { id: string }) => sql('select * from tokens where cpo_id = $1 order by id', [cpo.id]);
const me = (token: string) => service.request('GET', '/v1/scsp/me', { token });
const rotate = async (token: string, body?: unknown) => {
  const answer = await service.request('POST', '/v1/scsp/tokens/rotate', { token, body });
  if (answer.status === 201) service.secrets.add(answer.body.token);
  return answer;
};
const typeOf = ({ status, body }: { status: number; body: any }) => [status, body.type];
const REPLACED = [409, '/problems/token-replaced'];
const INVALID = [401, '/problems/invalid-token'];

describe('rotating its own token', () => {
  test('gives a CPO a new one; both work until the overlap is over', async () => {
    const cpo = await service.cpo();
    const [old] = await tokensOf(cpo);
    const { status, body, headers } = await rotate(cpo.token, { overlap_hours: 168 });
    expect([status, headers.get('Cache-Control')]).toEqual([201, 'no-store']);
    expect(body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      token: expect.stringMatching(/^scsp_cpo_[\w-]{43}$/),
      expires_at: expect.any(String),
      replaces: { id: old.id, expires_at: expect.any(String) },
    });
    expect((Date.parse(body.replaces.expires_at) - Date.now()) / HOUR_MS).toBeCloseTo(168, 1);
    expect((Date.parse(body.expires_at) - Date.now()) / DAY_MS).toBeCloseTo(365, 1);
    expect((await me(body.token)).body.cpo).toEqual({ id: cpo.id, name: cpo.name });
    const { body: warned } = await until(
      (answer) => answer.body.token?.expires_at === body.replaces.expires_at,
      () => me(cpo.token),
      10_000,
    );
    expect(warned.token.warning).toMatch(/^This token expires in [67] days\. Replace it with POST/);
    expect((await me(body.token)).body.token).not.toHaveProperty('warning');
  });

  test.each<[string, () => [string, object | undefined]]>([
    ['no body', () => ['', undefined]],
    ['no body, with a media type', () => ['Content-Type: application/json\r\n', undefined]],
    ['an empty object', () => ['', {}]],
    ['null', () => ['', { overlap_hours: null }]],
  ])('takes 24 hours when it is asked with %s', async (_what, sent) => {
    const cpo = await service.cpo();
    const [headers, body] = sent();
    const text = body === undefined ? '' : JSON.stringify(body);
    const raw = await openRaw(service.url);
    raw.socket.write(
      `POST /v1/scsp/tokens/rotate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${cpo.token}\r\n${headers}` +
        (text === '' ? '\r\n' : `Content-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`),
    );
    const [answer] = await raw.answers(1);
    raw.socket.destroy();
    expect(answer?.status).toBe(201);
    service.secrets.add(answer?.body.token);
    expect((Date.parse(answer?.body.replaces.expires_at) - Date.now()) / HOUR_MS).toBeCloseTo(24, 1);
  });

  test.each<[unknown, string]>([
    [{ overlap_hours: 23 }, 'must be at least 24, got 23'],
    [{ overlap_hours: 169 }, 'must be at most 168, got 169'],
    [{ overlap_hours: '24' }, 'must be an integer, got "24"'],
    [{ overlap_hours: 24.5 }, 'must be an integer, got 24.5'],
  ])('is refused with %j, and changes nothing', async (body, message) => {
    const cpo = await service.cpo();
    const answer = await rotate(cpo.token, body);
    expect([answer.status, answer.body.errors]).toEqual([400, [{ pointer: '/overlap_hours', message }]]);
    expect(await tokensOf(cpo)).toHaveLength(1);
  });

  test('is done once for a token; a rotation by an operator counts', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    expect((await rotate(cpo.token)).status).toBe(201);
    expect(typeOf(await rotate(cpo.token))).toEqual(REPLACED);
    await rotateToken(service.operator, (await tokensOf(other))[0].id, 24);
    expect(typeOf(await rotate(other.token))).toEqual(REPLACED);
    for (const one of [cpo, other]) expect(await tokensOf(one)).toHaveLength(2);
  });

  test('is won by exactly one of many that come at once', async () => {
    const cpo = await service.cpo();
    const answers = await Promise.all(Array.from({ length: 20 }, () => untilAnswered(() => rotate(cpo.token))));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    for (const answer of answers) if (answer.status !== 201) expect(typeOf(answer)).toEqual(REPLACED);
    expect(await tokensOf(cpo)).toHaveLength(2);
  });

  test('a thousand times leaves no more than four tokens that work, and few traces', async () => {
    const cpo = await service.cpo();
    let { token } = cpo;
    const statuses: number[] = [];
    for (let i = 0; i < 1_000; i++) {
      const answer = await rotate(token);
      statuses.push(answer.status);
      if (answer.status === 201) ({ token } = answer.body);
      else expect(typeOf(answer)).toEqual([409, '/problems/too-many-tokens']);
    }
    expect(statuses.filter((status) => status === 201)).toHaveLength(3);
    expect(await tokensOf(cpo)).toHaveLength(4);
    expect((await me(token)).status).toBe(200);
    const [oldest] = await tokensOf(cpo);
    await sql('update tokens set expires_at = now() where id = $1', [oldest.id]);
    expect((await rotate(token)).status).toBe(201);
    expect(typeOf(await rotate(cpo.token))).toEqual(INVALID);
  });

  test('never lengthens the life of the old token, and gives the new one the life that the old one had', async () => {
    const cpo = await service.cpo();
    await sql(
      `update tokens set created_at = now() - interval '29 days 23 hours', expires_at = now() + interval '1 hour'
       where cpo_id = $1`,
      [cpo.id],
    );
    const { body } = await rotate(cpo.token);
    expect((Date.parse(body.replaces.expires_at) - Date.now()) / HOUR_MS).toBeCloseTo(1, 1);
    expect((Date.parse(body.expires_at) - Date.now()) / DAY_MS).toBeCloseTo(30, 1);
  });

  test('is in the audit log under the token that did it, and the new token is stored nowhere', async () => {
    const cpo = await service.cpo();
    const [old] = await tokensOf(cpo);
    const answer = await service.request('POST', '/v1/scsp/tokens/rotate', {
      token: cpo.token,
      body: {},
      headers: { 'Idempotency-Key': 'a-key-that-is-ignored' },
    });
    service.secrets.add(answer.body.token);
    expect(await sql('select actor, action, detail from audit where subject_id = $1 order by id', [old.id])).toEqual([
      expect.objectContaining({ action: 'token.issue' }),
      {
        actor: `cpo token ${old.id}`,
        action: 'token.rotate',
        detail: { role: 'cpo', cpo_id: cpo.id, replaced_by: answer.body.id },
      },
    ]);
    for (const table of ['idempotency_keys', 'audit', 'tokens', 'attempts', 'calls']) {
      const found = await sql(`select from ${table} t where t::text like '%' || $1 || '%'`, [answer.body.token]);
      expect(found).toHaveLength(0);
    }
  });

  test('of a CPO that a stranger created is not in the audit log, whose entries are never deleted', async () => {
    const cpo = await service.cpo();
    await sql('update cpos set sandbox = true where id = $1', [cpo.id]);
    expect((await rotate(cpo.token)).status).toBe(201);
    const entries = await sql(`select action from audit where detail ->> 'cpo_id' = $1`, [cpo.id]);
    expect(entries).toEqual([{ action: 'token.issue' }]);
  });

  test('is for CPOs only', async () => {
    for (const token of [service.appToken, service.ingestToken])
      expect(typeOf(await rotate(token, {}))).toEqual([403, '/problems/wrong-role']);
  });
});

/** A rotation that waits for the row of its token until it is let go, and how many wait. */
async function holding(id: string) {
  const client = await service.sql.connect();
  await client.query('begin');
  await client.query('select from tokens where id = $1 for update', [id]);
  const waiting = () =>
    sql(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ~ 'tokens'`,
      [],
    );
  return {
    client,
    waits: (count: number) => untilSo(async () => (await waiting()).length >= count),
    async release() {
      await client.query('commit');
      client.release();
    },
  };
}

describe('revoking a token', () => {
  test('revokes what was rotated from it, by whomever and how often, and nothing else', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    const [root] = await tokensOf(cpo);
    const second = (await rotate(cpo.token)).body;
    const third = await rotateToken(service.operator, second.id, 24);
    const fork = await rotateToken(service.operator, second.id, 24);
    const fourth = (await rotate(third.token)).body;
    const apart = await issueToken(service.operator, { role: 'cpo', cpoId: cpo.id });
    for (const { token } of [third, fork, apart]) service.secrets.add(token);

    const { id, alsoRevoked } = await revokeToken(service.operator, root.id);
    expect([id, [...alsoRevoked].sort()]).toEqual([root.id, [second.id, third.id, fork.id, fourth.id].sort()]);
    for (const token of [cpo.token, second.token, third.token, fork.token, fourth.token])
      expect(typeOf(await untilStatus(401, () => me(token), 10_000))).toEqual(INVALID);
    for (const token of [apart.token, other.token]) expect((await me(token)).status).toBe(200);
    const audited = await sql(
      `select subject_id, detail from audit where action = 'token.revoke' and detail->>'cpo_id' = $1`,
      [cpo.id],
    );
    expect(audited).toHaveLength(5);
    for (const { subject_id, detail } of audited)
      expect(detail.revoked_with).toBe(subject_id === root.id ? undefined : root.id);
    expect(await revokeToken(service.operator, root.id)).toMatchObject({ id: root.id, alsoRevoked: [] });
  });

  test('revokes what was rotated from it although it was revoked alone before', async () => {
    const cpo = await service.cpo();
    const [{ id }] = await tokensOf(cpo);
    const next = (await rotate(cpo.token)).body;
    expect((await revokeToken(service.operator, id, { successors: false })).alsoRevoked).toEqual([]);
    expect((await untilStatus(401, () => me(cpo.token), 10_000)).status).toBe(401);
    expect((await me(next.token)).status).toBe(200);
    expect((await revokeToken(service.operator, id)).alsoRevoked).toEqual([next.id]);
    expect((await untilStatus(401, () => me(next.token), 10_000)).status).toBe(401);
  });

  test('leaves no token to a rotation that it waited for', async () => {
    const cpo = await service.cpo();
    const [root] = await tokensOf(cpo);
    const second = (await rotate(cpo.token)).body;
    const held = await holding(second.id);
    const rotating = rotate(second.token);
    await held.waits(1);
    const revoking = revokeToken(service.operator, root.id);
    await held.waits(2);
    await held.release();
    const [rotated, revoked] = [await rotating, await revoking];
    const live = await sql('select id from tokens where cpo_id = $1 and revoked_at is null', [cpo.id]);
    expect(live).toEqual([]);
    if (rotated.status === 201) expect(revoked.alsoRevoked).toContain(rotated.body.id);
    else expect(typeOf(rotated)).toEqual(INVALID);
  });

  test('refuses a rotation that waited for it, with 401', async () => {
    const cpo = await service.cpo();
    const [{ id }] = await tokensOf(cpo);
    const held = await holding(id);
    const rotating = rotate(cpo.token);
    await held.waits(1);
    await held.client.query('update tokens set revoked_at = now() where id = $1', [id]);
    await held.release();
    const answer = await rotating;
    expect(typeOf(answer)).toEqual(INVALID);
    expect(answer.headers.get('WWW-Authenticate')).toBe('Bearer realm="scsp-pairing", error="invalid_token"');
    expect(await tokensOf(cpo)).toHaveLength(1);
  });

  test('refuses a rotation of a CPO that was suspended meanwhile, with 403', async () => {
    const cpo = await service.cpo();
    const held = await holding((await tokensOf(cpo))[0].id);
    const rotating = rotate(cpo.token);
    await held.waits(1);
    await held.client.query('update cpos set suspended_at = now() where id = $1', [cpo.id]);
    await held.release();
    expect(typeOf(await rotating)).toEqual([403, '/problems/cpo-suspended']);
    expect(await tokensOf(cpo)).toHaveLength(1);
  });

  test('is refused for an unknown token', async () => {
    for (const id of [randomUUID(), 'no-such-token'])
      await expect(revokeToken(service.operator, id)).rejects.toThrow(`no token has the id ${id}`);
  });
});
