import { createHash } from 'node:crypto';
import { setSuspended } from '../../src/cpos/cpos';
import { revokeToken } from '../../src/tokens/revoke';
import { type Answer, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { leaks } from '../harness/leaks';
import { untilStatus } from '../harness/until';

let service: Harness;
let replica: Harness;
let cpo: TestCpo;
/** In the replica's memory from its start on, where nothing but the news of a change reaches them. */
let remembered: TestCpo[];
beforeAll(async () => {
  service = await startHarness();
  remembered = await Promise.all(Array.from({ length: 4 }, () => service.cpo()));
  replica = await startHarness({}, { databaseUrl: service.databaseUrl });
  cpo = await service.cpo();
});
afterAll(async () => {
  await replica.stop();
  await service.stop();
});

const me = (headers: Record<string, string>, query = '') => service.request('GET', `/v1/scsp/me${query}`, { headers });
const challenge = (answer: Answer) => [answer.status, answer.headers.get('WWW-Authenticate')];
const NO_TOKEN = [401, 'Bearer realm="scsp-pairing"'];
const BAD_TOKEN = [401, 'Bearer realm="scsp-pairing", error="invalid_token"'];
const UNAVAILABLE = [503, null];

test('a CPO sees who it is and when its token expires', async () => {
  const answer = await me({ Authorization: `bearer ${cpo.token}` });
  expect(answer.status).toBe(200);
  expect(answer.body).toMatchObject({
    cpo: { id: cpo.id, name: cpo.name },
    limits: [{ left: 5 }, { left: 10 }, { left: 20 }, { left: 50 }],
  });
  expect(Date.parse(answer.body.token.expires_at)).toBeGreaterThan(Date.now());
});

test('without a token, or with one that is not in the header, the challenge names no error', async () => {
  expect(challenge(await me({}))).toEqual(NO_TOKEN);
  expect(challenge(await me({ Authorization: 'Basic eDp5' }))).toEqual(NO_TOKEN);
  expect(challenge(await me({ Authorization: 'Bearer' }))).toEqual(NO_TOKEN);
  expect(challenge(await me({}, `?access_token=${cpo.token}`))).toEqual(NO_TOKEN);
  expect(challenge(await me({}, `?access_token[]=${cpo.token}`))).toEqual(NO_TOKEN);
});

test.each([`Token \0`, 'Basic eDp5', 'Digest \0', '\0', 'bearer\0', 'BearerToken \0'])(
  'the header %j gets a message about its scheme, and is never shown',
  async (header) => {
    const sent = header.replace('\0', cpo.token);
    const answer = await me({ Authorization: sent });
    expect(challenge(answer)).toEqual(NO_TOKEN);
    expect([answer.body.type, answer.body.message]).toEqual([
      '/problems/missing-token',
      'The Authorization header has another scheme than Bearer. Send Authorization: Bearer <token>.',
    ]);
  },
);

test('one or more spaces stand before the token (RFC 6750, 2.1)', async () => {
  for (const spaces of [' ', '  ', '     '])
    expect((await me({ Authorization: `Bearer${spaces}${cpo.token}` })).status).toBe(200);
  expect(challenge(await me({ Authorization: `Bearer  ${cpo.token}x` }))).toEqual(BAD_TOKEN);
});

test('a token that is unknown or malformed gets invalid_token', async () => {
  for (const token of ['x', `${cpo.token}x`, cpo.token.slice(0, -1), `${cpo.token} ${cpo.token}`, 'scsp_cpo_'])
    expect(challenge(await me({ Authorization: `Bearer ${token}` }))).toEqual(BAD_TOKEN);
});

test('a token in the query beside the right header is ignored, one in the body is an unknown member', async () => {
  expect((await me({ Authorization: `Bearer ${cpo.token}` }, '?access_token=x&access_token=y')).status).toBe(200);
  const answer = await service.request('POST', '/v1/app/pairing-codes', {
    token: service.appToken,
    body: { user_id: 'u', charging_location_id: 'l', access_token: 'x' },
  });
  expect(answer.status).toBe(201);
});

test('a caller without a token learns nothing of the body, however bad it is', async () => {
  for (const raw of ['{', 'x'.repeat(100_000), '\ud800'])
    expect(
      (await service.request('POST', '/v1/scsp/ocpp9/pair', { raw, headers: { 'Content-Type': 'text/plain' } })).status,
    ).toBe(401);
});

test('the wrong role is refused before the body is looked at', async () => {
  const asApp = await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: service.appToken, raw: '{' });
  expect([asApp.status, asApp.body.type]).toEqual([403, '/problems/wrong-role']);
  const asCpo = await service.request('POST', '/v1/app/pairing-codes', { token: cpo.token, raw: '{' });
  expect([asCpo.status, asCpo.body.type]).toEqual([403, '/problems/wrong-role']);
});

const withinASecond = (token: string, status: number) =>
  untilStatus(status, () => replica.request('GET', '/v1/scsp/me', { token }));

test('a revoked token is refused by every replica within a second', async () => {
  const other = remembered.pop() as TestCpo;
  const { rows } = await service.sql.query('select id from tokens where cpo_id = $1', [other.id]);
  await revokeToken(service.operator, rows[0].id);
  expect(challenge(await withinASecond(other.token, 401))).toEqual(BAD_TOKEN);
});

test('a suspended CPO is refused within a second, and served again when resumed', async () => {
  const other = remembered.pop() as TestCpo;
  await setSuspended(service.operator, other.id, true);
  const refused = await withinASecond(other.token, 403);
  expect([refused.status, refused.body.type]).toEqual([403, '/problems/cpo-suspended']);
  await setSuspended(service.operator, other.id, false);
  expect((await withinASecond(other.token, 200)).status).toBe(200);
});

test('an expired token is refused by the clock of the database', async () => {
  const other = remembered.pop() as TestCpo;
  await service.sql.query(`update tokens set expires_at = now() + interval '300 milliseconds' where cpo_id = $1`, [
    other.id,
  ]);
  expect((await withinASecond(other.token, 401)).status).toBe(401);
});

test('a revocation that no notification tells of, because the connection was cut, is in force all the same', async () => {
  const other = remembered.pop() as TestCpo;
  await service.sql.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'scsp-pairing listener' and datname = current_database()`,
  );
  await service.sql.query('update tokens set revoked_at = now() where cpo_id = $1', [other.id]);
  expect((await withinASecond(other.token, 401)).status).toBe(401);
  // While the listener is away, a flood of unknown tokens gets a 503 where it would get a 401.
  await service.log.waitFor(({ message }) => message === 'notifications restored');
});

test('a flood of unknown tokens does not keep a new token out', async () => {
  const flood = Array.from({ length: 100 }, (_, i) => me({ Authorization: `Bearer scsp_cpo_${i}` }));
  const other = await service.cpo();
  expect((await withinASecond(other.token, 200)).status).toBe(200);
  for (const answer of await Promise.all(flood)) {
    // A 503 is due while the listener is away, which a busy machine may cause.
    expect([BAD_TOKEN, UNAVAILABLE]).toContainEqual(challenge(answer));
    expect(answer.headers.get('Cache-Control')).toBe('no-store');
    expect(answer.headers.get('X-Content-Type-Options')).toBe('nosniff');
  }
});

test('a flood of unknown tokens is refused from memory: few of them reach the database', async () => {
  const holder = await service.sql.connect();
  await holder.query('begin; lock table tokens in access exclusive mode');
  // The look-ups of this second may be used up; when one has waited for the table, its time-out was longer than a second.
  const before = await untilStatus(503, () => me({ Authorization: 'Bearer scsp_cpo_before' }), 10_000);
  expect(before.status).toBe(503);
  const began = performance.now();
  // Whoever is looked up now waits for the table, and is refused with 503 when that takes too long.
  const flood = await Promise.all(
    Array.from({ length: 300 }, (_, i) => me({ Authorization: `Bearer scsp_cpo_flood_${i}` })),
  );
  const seconds = Math.ceil((performance.now() - began) / 1000);
  await holder.query('commit');
  holder.release();
  const statuses = flood.map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([401, 503]));
  expect(statuses.filter((status) => status === 503).length).toBeLessThanOrEqual(20 * (seconds + 1));
});

test('only hashes of tokens are stored', async () => {
  const { rows } = await service.sql.query(
    `select encode(hash, 'hex') as hash, (select jsonb_agg(t)::text from tokens t) as tokens from tokens where cpo_id = $1`,
    [cpo.id],
  );
  expect(rows).toHaveLength(1);
  expect(rows[0].hash).toBe(createHash('sha256').update(cpo.token).digest('hex'));
  expect(leaks(rows[0].tokens, [cpo.token, service.appToken])).toEqual([]);
  expect(cpo.token).toMatch(/^scsp_cpo_[\w-]{43}$/);
  expect(service.appToken).toMatch(/^scsp_app_[\w-]{43}$/);
});
